"""Values of a function: mounts, environment, aliases, probes and their answers, scaling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from syncd.artifact.digest import Digest


class MountKind(Enum):
    """The file system of a mount."""

    OSS = "oss"
    NAS = "nas"


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted directory of a function. `source` is the bucket or the NAS server, `path` absolute within it."""

    kind: MountKind
    source: str
    path: str
    mount_dir: str
    endpoint: str = ""  # OSS only: the bucket's endpoint as seen by the function


@dataclass(frozen=True, slots=True)
class Names:
    """Parts of a function's configuration by name: directories of mounts, and variables."""

    mount_dirs: frozenset[str] = frozenset()
    variables: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.mount_dirs or self.variables)


NO_NAMES: Final = Names()


@dataclass(frozen=True, slots=True)
class Change:
    """The part of a function's configuration that syncd sets; the rest is kept as read.

    `image` is the function's image, with tag and digest (`host/name:tag@sha256:…`); "" if syncd does not set it.
    `without` are mount directories and variables that the function must not have: LATEST has what was staged last, also
    of a model that was undone.
    """

    mounts: tuple[Mount, ...]
    environment: Mapping[str, str]
    image: str = ""
    without: Names = NO_NAMES


_SAME_SHARE: Final = 0.005  # half of the smallest difference


@dataclass(frozen=True, slots=True)
class AliasState:
    """Target of an alias. `function_version` is None if there is no such alias."""

    function_version: str | None
    weights: Mapping[str, float] = field(default_factory=dict)

    def is_like(self, other: AliasState) -> bool:
        """Whether they are equal up to rounding: the platform may return a rounded number."""
        if (self.function_version, self.weights.keys()) != (other.function_version, other.weights.keys()):
            return False
        return all(abs(share - other.weights[version]) < _SAME_SHARE for version, share in self.weights.items())

    def __str__(self) -> str:
        """The target in words."""
        shares = "".join(f", {share:.0%} to {version}" for version, share in self.weights.items())
        return f"{self.function_version}{shares}"


@dataclass(frozen=True, slots=True)
class Staged:
    """A published function version that carries the change. `reused`: it existed already."""

    function_version: str
    reused: bool


@dataclass(frozen=True, slots=True)
class Golden:
    """A request with a known answer: the expected value at each path of its JSON (see `runtime.paths`).

    A number may differ by `tolerance` times the expected one, or by `tolerance` if that is below 1. With `fails` the
    function must refuse the request: the platform reports only that it failed, and not its status. With `may_lack` a
    function that fails, or has nothing at a path, is tolerated; another value is not.
    """

    name: str
    body: bytes
    json: Mapping[str, object] = field(default_factory=dict)
    tolerance: float = 0.0
    fails: bool = False
    may_lack: bool = False


@dataclass(frozen=True, slots=True)
class Latency:
    """Latency limit over `calls` successive calls, after the first answer: 95 of 100 within `p95_s`."""

    calls: int
    p95_s: float


@dataclass(frozen=True, slots=True)
class Probe:
    """A request whose answer must contain each of `digests`, and further checks.

    `load_path` is the path in the answer of the load time in seconds; "" if there is none.
    """

    body: bytes
    digests: tuple[Digest, ...]
    timeout_s: float
    golden: tuple[Golden, ...] = ()
    latency: Latency | None = None
    load_path: str = ""


@dataclass(frozen=True, slots=True)
class GoldenAnswer:
    """The result of one call. `error` is the platform's error type of a failed function, else "".

    `inside_s` is the duration within the function, as the platform reports it.
    """

    body: bytes
    seconds: float
    error: str = ""
    inside_s: float | None = None


@dataclass(frozen=True, slots=True)
class AskResult:
    """Result of one request of a probe. `wrong` gives the expected and the actual value; "" if they match."""

    what: str
    seconds: float
    wrong: str = ""


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """Result of a probe. `answer` and the times are of the first request.

    `wrong` is about single answers and about all of them, such as a latency limit. `load_stages_s` are the parts of
    `load_s`, where the answer has them.
    """

    answer: bytes
    seconds: float
    asked: tuple[AskResult, ...] = ()
    wrong: tuple[str, ...] = ()
    inside_s: float | None = None
    load_s: float | None = None
    load_stages_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InstanceSettings:
    """The configured size of a function's instances, and how many calls each takes at once. No `card`: no GPU."""

    card: str = ""  # such as tesla.1
    gpu_gb: float = 0.0
    vcpu: float = 0.0
    memory_gb: float = 0.0
    disk_gb: float = 0.0
    concurrency: int = 1


@dataclass(frozen=True, slots=True)
class Scaling:
    """Provisioned instances of an alias: the target number and the current number.

    `settings` are the platform's own, as JSON, to be written back unchanged; empty if there are none.
    """

    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    target: int = 0
    current: int = 0
    error: str = ""  # why there are fewer, as the platform reports it
