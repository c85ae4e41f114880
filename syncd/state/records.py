"""Rows as frozen values. Times are aware and UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from syncd.artifact.digest import Digest
from syncd.artifact.names import FilePath
from syncd.plan.phases import FlipPhase, PlacementPhase, ReleasePhase, StepKind, StepState
from syncd.plan.roles import Role


@dataclass(frozen=True, slots=True)
class Version:
    """A version that was pinned once. Its manifest never changes."""

    id: str  # "<model>@<version>#<digest12>"
    model: str
    name: str
    digest: Digest
    registry: str
    pin: str
    size_bytes: int
    quarantined: str  # why, or ""
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Placement:
    """One version at one target."""

    version_id: str
    target: str
    phase: PlacementPhase
    bytes_sent: int
    progress: Mapping[str, object]  # of a copy under way: counters, and the files being sent
    reason: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ImageBase:
    """What a base's name meant when a version was first laid over it at a target."""

    version_id: str
    target: str
    base: str
    digest: Digest
    found_at: datetime


@dataclass(frozen=True, slots=True)
class PlacedImage:
    """The image of a version at a target, as it was proven. `served_from` is its repository as functions name it."""

    version_id: str
    target: str
    repository: str
    served_from: str
    tag: str
    digest: Digest
    base: str
    base_digest: Digest
    directory: str  # where the files lie in it
    baked_at: datetime

    @property
    def reference(self) -> str:
        """With tag and digest, as functions name it."""
        return f"{self.served_from}:{self.tag}@sha256:{self.digest}"


@dataclass(frozen=True, slots=True)
class ReleaseBase:
    """What a release lays a version over at a target. `was` is what it lay over, where it was begun for a new base."""

    release_id: str
    version_id: str
    target: str
    base: str
    digest: Digest
    was: Digest | None = None


@dataclass(frozen=True, slots=True)
class SeenBase:
    """What the base of a target's images was last seen to be, and since when; `reason` is why it cannot be seen now."""

    target: str
    base: str
    digest: Digest | None
    since: datetime | None
    looked_at: datetime | None
    reason: str
    failing_since: datetime | None


@dataclass(frozen=True, slots=True)
class Release:
    """The wish to have the bindings of a model serve a version. Rows of one model are ordered by `number`."""

    id: str  # "r-<number>", readable in a function version's description
    number: int
    model: str
    ref: str
    registry: str
    version_id: str | None
    rollback: bool
    requested_by: str
    phase: ReleasePhase
    reason: str
    hint: str
    cancel: str  # by whom and why it is to end, or ""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Step:
    """One unit of recorded work. `attempt` fences it."""

    id: str  # "<release>/<kind>/<subject>"
    release_id: str
    kind: StepKind
    subject: str
    queue: str
    state: StepState
    attempt: int
    failures: int
    due_at: datetime
    lease_until: datetime | None
    owner: str
    stop_wanted: bool
    reason: str
    hint: str
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Flip:
    """One alias within one release. `serves` maps every model of the binding to the version id it would serve."""

    release_id: str
    binding: str
    phase: FlipPhase
    from_version: str | None  # the function version the alias pointed at, None: no alias yet
    to_version: str | None
    served: Mapping[str, str]
    serves: Mapping[str, str]
    reason: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Live:
    """What a binding serves by the record: the function version and each model's version id."""

    binding: str
    function_version: str | None
    models: Mapping[str, str]
    release_id: str | None
    since: datetime


@dataclass(frozen=True, slots=True)
class FunctionVersion:
    """A published function version that syncd staged, and what it carries."""

    binding: str
    function_version: str
    models: Mapping[str, str]
    change_digest: str
    release_id: str
    staged_at: datetime


@dataclass(frozen=True, slots=True)
class Drift:
    """One thing in the world that was not as recorded. It came to be so between `good_at` and `found_at`."""

    binding: str
    what: str  # "alias", "weights", or what of LATEST: "mount <directory>", "variable <name>"
    found_at: datetime
    got: str
    want: str
    good_at: datetime
    seen_at: datetime  # the newest look that still found it
    closed_at: datetime | None
    closed: str  # how it ended, or ""


@dataclass(frozen=True, slots=True)
class DriftScan:
    """When a binding was last compared with the world; `good_at` when it was last found as recorded."""

    binding: str
    looked_at: datetime
    good_at: datetime | None


@dataclass(frozen=True, slots=True)
class DriftResolution:
    """A binding that is being put back to what the record says. `attempt` fences it."""

    binding: str  # that is claimed
    subject: str  # for the sake of which
    attempt: int
    who: str
    why: str
    expects: str | None  # where the alias was found when it was decided
    began_at: datetime
    lease_until: datetime


@dataclass(frozen=True, slots=True)
class Retirement:
    """A version that is taken out of service for good; `done_at` is None while that is being done."""

    version_id: str
    who: str
    why: str
    asked_at: datetime
    done_at: datetime | None


@dataclass(frozen=True, slots=True)
class Prewarm:
    """Instances that are, or may be, held ready on an alias. `before` is what hung there, to be put back."""

    binding: str
    alias: str
    release_id: str  # for which; it goes when that has ended
    runtime: str
    function: str
    instances: int
    before: Mapping[str, Mapping[str, object]]
    kept_s: int  # how long it stays after the release went live
    made: bool  # the alias is there for this alone, and goes with it
    cooling: bool  # being removed: nobody takes it over any more
    since: datetime


@dataclass(frozen=True, slots=True)
class KeptScaling:
    """What hung on a binding's alias before a release moved it. `compared`: it was looked at after the flip."""

    release_id: str
    binding: str
    settings: Mapping[str, Mapping[str, object]]
    compared: bool


@dataclass(frozen=True, slots=True)
class LoadTime:
    """How long a version's first answer took in one place. `cold`: nothing of it can have run there before."""

    release_id: str
    binding: str
    version_id: str
    region: str
    target_kind: str
    cold: bool
    answer_ms: int
    inside_ms: int | None  # within the function, as the platform tells it
    load_ms: int | None  # loading, as the answer tells it
    at: datetime


@dataclass(frozen=True, slots=True)
class Hold:
    """A model that automation must leave alone."""

    model: str
    who: str
    why: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's word that a release may be flipped, for these bytes."""

    release_id: str
    digest: Digest
    who: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Freeze:
    """Nothing of a model is flipped, but rollbacks, until somebody lifts it or its time is over."""

    model: str  # EVERY for all
    who: str
    why: str
    since: datetime
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `detail` is small, JSON, and without secrets."""

    id: int
    at: datetime
    kind: str
    release_id: str | None
    step_id: str | None
    attempt: int | None
    subject: str
    detail: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """An upload that was begun and neither finished nor aborted, as far as the journal knows."""

    version_id: str
    target: str
    path: FilePath
    token: str
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class ProcessSeen:
    """A process that works on this record, and when it last said so."""

    owner: str
    host: str
    pid: int
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Token:
    """Who may use the HTTP API, and for what."""

    id: str
    name: str
    role: Role
    hash: Digest
    created_by: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Delivery:
    """One thing a webhook told: only a hint that a registry should be looked at."""

    hook: str
    id: str  # the sender's own, or made of what does not change when it is sent again
    registry: str
    subject: str  # what it is about in the sender's words; nothing is decided by it
    place: str = ""  # the model, or what lies below it: all that has to be looked at; "": everything
    ref: str = ""  # the version or the alias of it; "": any
