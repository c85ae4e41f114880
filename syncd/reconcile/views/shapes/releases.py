"""Shapes of a release: in a list, with its targets and bindings, and with its whole history."""

from __future__ import annotations

from pydantic import Field

from syncd.plan.phases import FlipPhase, PlacementPhase, ReleasePhase, StepKind, StepState
from syncd.reconcile.views.shapes.base import Detail, Document, Time
from syncd.reconcile.views.shapes.first_answers import FirstAnswerDocument
from syncd.reconcile.views.shapes.rollouts import RolloutDocument


class ReleaseDocument(Document):
    """A release."""

    release: str = Field(description="Its id, such as `r-7`.")
    model: str
    version: str
    phase: ReleasePhase
    rollback: bool = Field(description="Whether it returns to an earlier version.")
    reason: str = Field(description="Why it waits or ended; empty if there is nothing to report.")
    hint: str = Field(description="What to do about it.")
    created_at: Time
    updated_at: Time


class ListedReleaseDocument(ReleaseDocument):
    """A release in a list."""

    requested_by: str


class ReleasesDocument(Document):
    """Releases, newest first."""

    releases: list[ListedReleaseDocument]
    next: str = Field(default="", description="There are older ones: ask again with this as `before`.")


class BaseUpdateDocument(Document):
    """A base image that differs from the one that a version was built on."""

    name: str
    digest: str = Field(description="The digest that the version was built on.")
    new_digest: str


class PlacementDocument(Document):
    """A version at one target: its phase, and the progress of its copy. A counter is absent until a copy reports it."""

    target: str
    phase: PlacementPhase
    bytes_total: int
    bytes_per_s: int = Field(description="The rate of the copy now; 0 if it is not known.")
    eta_s: float | None = Field(description="The seconds left at that rate.")
    bytes_sent: int = 0
    bytes_kept: int = Field(default=0, description="Bytes that were there already.")
    bytes_copied: int = Field(default=0, description="Bytes that the target copied from what it had.")
    files_total: int = 0
    files_finished: int = 0
    parts_sent: int = 0
    parts_kept: int = 0
    parts_copied: int = 0
    parts_resent: int = 0
    files: list[tuple[str, int, int]] = Field(
        default=[], description="Some of the files in progress: path, bytes that are there, bytes in all."
    )
    release: str = Field(default="", description="The release that waits for replication.")
    since: str = Field(default="", description="When that wait began, in ISO 8601.")
    image: str = Field(default="", description="The image of the version, at a target of kind `image`.")
    base: BaseUpdateDocument | None = Field(default=None, description="The new base that the release builds on.")


class FlipDocument(Document):
    """One alias within a release."""

    binding: str
    phase: FlipPhase
    from_version: str | None = Field(
        serialization_alias="from", validation_alias="from", description="Function version before."
    )
    to_version: str | None = Field(
        serialization_alias="to", validation_alias="to", description="Function version afterwards."
    )


class StuckStepDocument(Document):
    """A step that waits or has stopped, and why."""

    step: StepKind
    subject: str
    state: StepState
    failures: int
    reason: str
    next_try: Time | None = Field(default=None, description="When it is tried again, if it waits.")


class ReleaseDetailDocument(ListedReleaseDocument):
    """A release with its targets and bindings."""

    digest: str | None = Field(description="SHA-256 of the manifest, once it is known.")
    targets: list[PlacementDocument]
    bindings: list[FlipDocument]
    rollout: RolloutDocument | None
    left_behind: list[str] = Field(description="The bindings that it went live without.")
    stuck: list[StuckStepDocument]


class StepDocument(Document):
    """One step of a release."""

    step: StepKind
    subject: str
    state: StepState
    attempt: int
    failures: int
    started_at: Time | None
    ended_at: Time | None
    seconds: float | None
    reason: str
    hint: str


class EventDocument(Document):
    """Something that happened."""

    id: int
    at: Time
    kind: str
    subject: str
    step: str | None
    attempt: int | None
    detail: Detail


class StreamedEventDocument(EventDocument):
    """An event in the stream, with its release."""

    release: str | None


class ReleaseHistoryDocument(ReleaseDetailDocument):
    """A release with every step and event."""

    steps: list[StepDocument]
    first_answers: list[FirstAnswerDocument]
    events: list[EventDocument]


class RetriedReleaseDocument(Document):
    """A release whose waiting steps were made due."""

    release: str
    model: str
    version: str
    phase: ReleasePhase
    steps: list[str] = Field(description="The steps, such as `place targets`; empty if none waited.")


class RetriedDocument(Document):
    """The releases whose waiting steps were made due."""

    releases: list[RetriedReleaseDocument]
