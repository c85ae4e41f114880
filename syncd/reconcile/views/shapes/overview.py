"""Shapes of the overview: what is live, in flight and stuck; models; drift."""

from __future__ import annotations

from pydantic import Field

from syncd.plan.phases import FlipPhase, ReleasePhase, StepKind
from syncd.plan.topology import BasePolicy
from syncd.reconcile.views.shapes.base import Document, Time
from syncd.reconcile.views.shapes.rollouts import RolloutDocument
from syncd.reconcile.views.shapes.serving import FreezeDocument, HoldDocument, RefusedCallersDocument, TroubleDocument


class DaemonDocument(Document):
    """The daemon that works on the record."""

    owner: str
    seen_at: Time


class LiveDocument(Document):
    """What a binding serves of a model, by the record."""

    model: str
    version: str | None
    digest: str | None
    region: str
    binding: str
    function: str
    alias: str
    function_version: str | None
    since: Time | None
    release: str | None


class StalledDocument(Document):
    """The newest release of a model, if it ended without being live."""

    release: str
    model: str
    version: str
    phase: ReleasePhase
    since: Time
    reason: str
    hint: str
    served: list[str] = Field(default=[], description="The versions that its bindings serve meanwhile.")
    is_live: bool = Field(default=False, description="All of them serve the version of this release.")


class WaitingStepDocument(Document):
    """A step that waits, and when it is tried again."""

    step: StepKind
    subject: str
    failures: int
    due_at: Time
    reason: str


class ShareDocument(Document):
    """The share of an alias's traffic that a release has, or is about to have."""

    binding: str
    phase: FlipPhase
    percent: int


class CopyDocument(Document):
    """A copy under way; the rate is the average of the attempt."""

    target: str
    bytes_done: int
    bytes_total: int
    bytes_per_s: int
    eta_s: float | None = Field(description="The seconds left at that rate.")


class InFlightDocument(Document):
    """A release that has not ended, and what it waits for."""

    release: str
    model: str
    version: str
    rollback: bool
    phase: ReleasePhase
    since: Time
    rollout: RolloutDocument | None
    reason: str
    hint: str
    next_try: Time | None = Field(default=None, description="When the first of the waiting steps is tried again.")
    waiting: list[WaitingStepDocument] = Field(default=[])
    shares: list[ShareDocument] = Field(default=[], description="In the order of its flips; none before the first.")
    copies: list[CopyDocument] = Field(default=[])


class QuarantineDocument(Document):
    """A version whose bytes changed at the registry after it was recorded."""

    model: str
    version: str
    reason: str


class WatchedBaseDocument(Document):
    """A watched base image that has changed, or that cannot be resolved now."""

    model: str
    version: str | None
    region: str
    target: str
    watch: BasePolicy
    name: str
    digest: str | None
    new_digest: str | None
    seen_at: Time | None
    says: str
    hint: str


class DriftedDocument(Document):
    """A difference from the record. It arose between `good_at` and `found_at`."""

    binding: str
    region: str
    function: str
    alias: str
    what: str
    got: str
    want: str
    good_at: Time
    found_at: Time
    seen_at: Time
    restoring: str | None = Field(description="Who restores it now, and why.")
    hint: str


class ClosedDriftDocument(Document):
    """A difference that has ended."""

    binding: str
    what: str
    got: str
    want: str
    found_at: Time
    closed_at: Time
    closed: str = Field(description="How it ended.")


class DriftDocument(Document):
    """Differences from the record, by the newest check of each binding."""

    good: bool
    drifted: list[DriftedDocument]
    looked_at: dict[str, Time | None] = Field(description="The time of the newest check, by binding.")
    ended: list[ClosedDriftDocument]


class TargetProofDocument(Document):
    """The proofs of the sealed copies at a target."""

    target: str
    oldest_proof_at: Time
    copies: int
    damaged: int = Field(description="Copies whose newest check found a fault.")


class StatusDocument(Document):
    """The record at one moment."""

    daemon: DaemonDocument | None
    lost_daemon: DaemonDocument | None = Field(
        default=None, description="Where none works: the last one, if it was killed or cut off within a day."
    )
    automatic_releases_off: str = Field(description="Why; empty if they are on.")
    live: list[LiveDocument]
    in_flight: list[InFlightDocument]
    held: list[HoldDocument]
    frozen: list[FreezeDocument]
    quarantined: list[QuarantineDocument]
    stalled: list[StalledDocument]
    bases: list[WatchedBaseDocument]
    drifted: list[DriftedDocument]
    unhealthy: list[TroubleDocument] = Field(
        default=[], description="Registries, targets, credentials, runtimes and the record's disk that are not good."
    )
    refused: RefusedCallersDocument | None = Field(default=None, description="null: nobody in the last hour.")
    proofs: list[TargetProofDocument] = Field(
        default=[], description="By target: the copy that was proven longest ago."
    )


class ServedModelDocument(Document):
    """A model that is served."""

    model: str
    registry: str | None
    live: list[LiveDocument]
    held: str | None = Field(description="The reason of the hold.")
    latest_release: str | None


class ModelsDocument(Document):
    """The models that are served."""

    models: list[ServedModelDocument]


class ModelVersionDocument(Document):
    """A version of a model: in its registry, in the record, or in both."""

    version: str
    digest: str | None
    size_bytes: int | None
    recorded_at: Time | None = Field(description="When it was first released.")
    sealed: list[str] = Field(description="The targets where it is sealed.")
    targets: list[str] = Field(description="The targets of the model.")
    live: list[str] = Field(description="The bindings that serve it.")
    quarantined: str | None
    in_registry: bool


class ModelVersionsDocument(Document):
    """The versions of a model, newest first."""

    model: str
    registry: str
    unreached: str | None = Field(description="Why the registry could not be read.")
    versions: list[ModelVersionDocument]
