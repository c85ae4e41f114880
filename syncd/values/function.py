"""Values of a function: mounts, environment, aliases, probes and their answers, scaling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from syncd.artifact.digest import Digest


class MountKind(Enum):
    """What a mount is made of."""

    OSS = "oss"
    NAS = "nas"


@dataclass(frozen=True, slots=True)
class Mount:
    """A directory a function sees. `source` is the bucket or the NAS server, `path` absolute within it."""

    kind: MountKind
    source: str
    path: str
    mount_dir: str
    endpoint: str = ""  # OSS only: the bucket's endpoint as seen by the function


@dataclass(frozen=True, slots=True)
class Change:
    """What syncd owns of a function; everything else of it is kept as it is read.

    `image` is the function's own, with tag and digest (`host/name:tag@sha256:…`); "" where it is none of ours.
    """

    mounts: tuple[Mount, ...]
    environment: Mapping[str, str]
    image: str = ""


_SAME_SHARE: Final = 0.005  # half of the least step there is


@dataclass(frozen=True, slots=True)
class AliasState:
    """Where an alias points. `function_version` is None where there is no such alias."""

    function_version: str | None
    weights: Mapping[str, float] = field(default_factory=dict)

    def is_like(self, other: AliasState) -> bool:
        """Whether they are the same, but for a rounding: the platform may give back a number of its own making."""
        if (self.function_version, self.weights.keys()) != (other.function_version, other.weights.keys()):
            return False
        return all(abs(share - other.weights[version]) < _SAME_SHARE for version, share in self.weights.items())

    def __str__(self) -> str:
        """Where it points, in words."""
        shares = "".join(f", {share:.0%} to {version}" for version, share in self.weights.items())
        return f"{self.function_version}{shares}"


@dataclass(frozen=True, slots=True)
class Staged:
    """A published function version that carries the change. `reused`: it was there already."""

    function_version: str
    reused: bool


@dataclass(frozen=True, slots=True)
class Golden:
    """A request whose right answer is known: what must stand at each path of its JSON (see `runtime.paths`).

    A number may differ by `tolerance` times the wanted one, or by `tolerance` where that is below 1. With `fails`
    the function must refuse the request: the platform tells that it did, and never which status it gave.
    """

    name: str
    body: bytes
    json: Mapping[str, object] = field(default_factory=dict)
    tolerance: float = 0.0
    fails: bool = False


@dataclass(frozen=True, slots=True)
class Latency:
    """A bound over `calls` in a row, after the first answer: 95 of 100 must come within `p95_s`."""

    calls: int
    p95_s: float


@dataclass(frozen=True, slots=True)
class Probe:
    """A request whose answer must contain each of `digests`, and what else must hold of the answers.

    `load_path` is where the answer says how many seconds loading took; "" where it does not.
    """

    body: bytes
    digests: tuple[Digest, ...]
    timeout_s: float
    golden: tuple[Golden, ...] = ()
    latency: Latency | None = None
    load_path: str = ""


@dataclass(frozen=True, slots=True)
class GoldenAnswer:
    """What came back from one call. `error` is the platform's word for a function that failed, "" where it did not.

    `inside_s` is how long the function itself took, as the platform tells it.
    """

    body: bytes
    seconds: float
    error: str = ""
    inside_s: float | None = None


@dataclass(frozen=True, slots=True)
class AskResult:
    """One request of a probe. `wrong` says what was got and wanted, "" where all was well."""

    what: str
    seconds: float
    wrong: str = ""


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What a function answered to everything it was asked. `answer` and the times are of the first request.

    `wrong` is about the answers and about all of them together, such as a bound on their latency.
    """

    answer: bytes
    seconds: float
    asked: tuple[AskResult, ...] = ()
    wrong: tuple[str, ...] = ()
    inside_s: float | None = None
    load_s: float | None = None


@dataclass(frozen=True, slots=True)
class Scaling:
    """What hangs on an alias: how many instances are to be held ready, and how many are.

    `settings` are the platform's own, as JSON, to be given back whole; empty where nothing hangs there.
    """

    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    target: int = 0
    current: int = 0
    error: str = ""  # why there are fewer, as the platform tells it
