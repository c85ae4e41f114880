"""Rows as frozen values. Times are aware and UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from syncd.artifact.digest import Digest
from syncd.artifact.names import FilePath
from syncd.plan.phases import FlipPhase, PlacementPhase, ReleasePhase, StepKind, StepState
from syncd.plan.roles import Role


@dataclass(frozen=True, slots=True)
class Version:
    """A recorded version. Its manifest never changes."""

    id: str  # "<model>@<version>#<digest12>"
    model: str
    name: str
    digest: Digest
    registry: str
    pin: str
    size_bytes: int
    quarantined: str  # the reason, or ""
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
    """The digest of a base's tag when a version was first built on it at a target."""

    version_id: str
    target: str
    base: str
    digest: Digest
    found_at: datetime


@dataclass(frozen=True, slots=True)
class PlacedImage:
    """The verified image of a version at a target. `served_from` is the repository's name for functions."""

    version_id: str
    target: str
    repository: str
    served_from: str
    tag: str
    digest: Digest
    base: str
    base_digest: Digest
    directory: str  # of the version's files in the image
    baked_at: datetime

    @property
    def reference(self) -> str:
        """Repository, tag and digest, as functions name it."""
        return f"{self.served_from}:{self.tag}@sha256:{self.digest}"


@dataclass(frozen=True, slots=True)
class ReleaseBase:
    """The base that a release builds a version on at a target. `was` is the previous one, where the base is new."""

    release_id: str
    version_id: str
    target: str
    base: str
    digest: Digest
    was: Digest | None = None


@dataclass(frozen=True, slots=True)
class SeenBase:
    """The base of a target's images as last seen, and since when; `reason` is why it cannot be read now."""

    target: str
    base: str
    digest: Digest | None
    since: datetime | None
    looked_at: datetime | None
    reason: str
    failing_since: datetime | None


@dataclass(frozen=True, slots=True)
class Release:
    """The request to serve a version in the bindings of a model. Rows of one model are ordered by `number`."""

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
    cancel: str  # by whom and why it is cancelled, or ""
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
    """What a binding serves according to the record: the function version and each model's version id."""

    binding: str
    function_version: str | None
    models: Mapping[str, str]
    release_id: str | None
    since: datetime


@dataclass(frozen=True, slots=True)
class FunctionVersion:
    """A function version that syncd published, and its models."""

    binding: str
    function_version: str
    models: Mapping[str, str]
    change_digest: str
    release_id: str
    staged_at: datetime


@dataclass(frozen=True, slots=True)
class Drift:
    """A difference between the world and the record. It arose between `good_at` and `found_at`."""

    binding: str
    what: str  # "alias", "weights", or a part of LATEST: "mount <directory>", "variable <name>"
    found_at: datetime
    got: str
    want: str
    good_at: datetime
    seen_at: datetime  # the newest scan that still found it
    closed_at: datetime | None
    closed: str  # how it ended, or ""


@dataclass(frozen=True, slots=True)
class DriftScan:
    """When a binding was last compared with the world; `good_at` is when it last matched the record."""

    binding: str
    looked_at: datetime
    good_at: datetime | None


@dataclass(frozen=True, slots=True)
class DriftResolution:
    """A binding that is being restored to the record. `attempt` fences it."""

    binding: str  # the one claimed
    subject: str  # the one restored
    attempt: int
    who: str
    why: str
    expects: str | None  # the function version of the alias at the time of the decision
    began_at: datetime
    lease_until: datetime


@dataclass(frozen=True, slots=True)
class Retirement:
    """A version that is taken out of service for good; `done_at` is None while that is under way."""

    version_id: str
    who: str
    why: str
    asked_at: datetime
    done_at: datetime | None


@dataclass(frozen=True, slots=True)
class Repair:
    """The newest repair of a version at a target. It ended well if `done_at` is set and `reason` is empty."""

    version_id: str
    target: str
    who: str
    asked_at: datetime
    due_at: datetime  # a worker has it until then; afterwards any may take it
    failures: int
    reason: str
    hint: str
    result: Mapping[str, object]
    done_at: datetime | None

    @property
    def phase(self) -> str:
        """`repairing`, or how it ended: `repaired`, `whole` (nothing was damaged) or `failed`."""
        if self.done_at is None:
            return "repairing"
        if self.reason:
            return "failed"
        return "repaired" if any(self.result.get(key) for key in ("files", "seal", "images")) else "whole"


@dataclass(frozen=True, slots=True)
class Prewarm:
    """Prewarmed instances of an alias, existing or about to exist. `before` is the previous setting, to be restored."""

    binding: str
    alias: str
    release_id: str  # their release; they are released after it ends
    runtime: str
    function: str
    instances: int
    before: Mapping[str, Mapping[str, object]]
    kept_s: int  # how long they stay after the release went live
    made: bool  # the alias exists only for them, and is deleted with them
    cooling: bool  # being removed: cannot be taken over
    since: datetime


@dataclass(frozen=True, slots=True)
class KeptScaling:
    """The scaling settings of a binding's alias before a release moved it. `compared`: checked after the flip."""

    release_id: str
    binding: str
    settings: Mapping[str, Mapping[str, object]]
    compared: bool


@dataclass(frozen=True, slots=True)
class LoadTime:
    """How long a version's first answer took in one place. `cold`: none of its instances can have run there before."""

    release_id: str
    binding: str
    version_id: str
    region: str
    target_kind: str
    cold: bool
    answer_ms: int
    inside_ms: int | None  # within the function, as reported by the platform
    load_ms: int | None  # loading, as reported in the answer
    at: datetime
    stages: Mapping[str, int] = field(default_factory=dict)  # of the start, in milliseconds, as far as they were seen


@dataclass(frozen=True, slots=True)
class Hold:
    """A model that automation must leave alone."""

    model: str
    who: str
    why: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's consent to flip a release, for these bytes."""

    release_id: str
    digest: Digest
    who: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Freeze:
    """A mark that blocks all flips of a model except rollbacks, until it is lifted or expires."""

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
    """An upload that was neither finished nor aborted, according to the journal."""

    version_id: str
    target: str
    path: FilePath
    token: str
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class ProcessSeen:
    """A process that works on this record, and when it was last seen."""

    owner: str
    host: str
    pid: int
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Token:
    """A user of the HTTP API and their role."""

    id: str
    name: str
    role: Role
    hash: Digest
    created_by: str
    created_at: datetime
    limits: Mapping[str, object]  # see `TokenLimits.of_json`


@dataclass(frozen=True, slots=True)
class Delivery:
    """One webhook delivery: only a hint to poll a registry."""

    hook: str
    id: str  # the sender's, or derived from what stays equal when it is sent again
    registry: str
    subject: str  # what it is about in the sender's words; no decision depends on it
    place: str = ""  # the model, or a path below it, to poll; "": everything
    ref: str = ""  # the version or the alias of it; "": any
