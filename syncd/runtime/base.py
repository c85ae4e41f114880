"""The seam to a runtime: the functions of one region, their published versions and their aliases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

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
    """What syncd owns of a function; everything else of it is kept as it is read."""

    mounts: tuple[Mount, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AliasState:
    """Where an alias points. `function_version` is None where there is no such alias."""

    function_version: str | None
    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Staged:
    """A published function version that carries the change. `reused`: it was there already."""

    function_version: str
    reused: bool


@dataclass(frozen=True, slots=True)
class Probe:
    """A request whose answer must contain each of `digests`."""

    body: bytes
    digests: tuple[Digest, ...]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What the function answered, and how long it took."""

    answer: bytes
    seconds: float


Waiting = Callable[[str], None]
"""Told what is being waited for, now and then; may raise Cancelled to stop the wait."""


class Runtime(Protocol):
    """The functions of one region. Safe to call from several threads; one mover per function is the caller's duty."""

    def read(self, function: str, alias: str) -> AliasState:
        """Where the alias points now.

        Raises:
            NotFound: There is no such function. (An absent alias is an answer.)
            Unavailable: The look failed; nothing is known.
        """
        ...

    def latest(self, function: str, like: Change) -> Change:
        """Of LATEST, what `like` names: the mounts at its directories, the variables of its names.

        What is absent is left out, and so is all that `like` does not name: it may be anybody's secret.

        Raises:
            NotFound: There is no such function.
            Unavailable: The look failed; nothing is known.
        """
        ...

    def stage(self, function: str, change: Change, token: str, *, known: Sequence[str], waiting: Waiting) -> Staged:
        """Have a published version that carries `change`, and wait until it can serve.

        Looks first: one of `known` (versions believed to carry it, best first), or one published under `token`
        that carries it, is used; where nothing differs from the newest version, that one is. Repeating it
        after any crash ends with one such version.

        Raises:
            NotFound: There is no such function.
            Failed: The platform refused or failed the update; its reason is in the message.
            Conflict: Somebody else changed the function meanwhile.
            Unavailable: Try again.
        """
        ...

    def probe(self, function: str, candidate: str, function_version: str, probe: Probe) -> ProbeReport:
        """Point the alias `candidate` at the version, ask through it, and check the answer.

        Raises:
            Failed: It answered with an error, too late, or without a digest; got and want are in the message.
            NotFound: There is no such function or version.
            Unavailable: The call could not be made.
        """
        ...

    def ask(self, function: str, qualifier: str, body: bytes, timeout_s: float) -> bytes:
        """Invoke through an alias or a version, and return the answer.

        Raises:
            Failed: The function answered with an error.
            NotFound: There is no such function, alias or version.
            Unavailable: The call could not be made, or its answer broke off.
        """
        ...

    def flip(self, function: str, alias: str, to: str | None, expect: str | None) -> AliasState:
        """Point `alias` wholly at `to`, if it points at `expect` (None: does not exist) or at `to` already.

        With `to` None the alias is deleted: the way back from a first release.

        An unknown outcome is settled by reading. Returns what was read back.

        Raises:
            Conflict: It points elsewhere; nothing was changed.
            NotFound: There is no such function or version.
            Unavailable: Not moved, or unreadable.
        """
        ...

    def retire(self, function: str, function_version: str) -> None:
        """Delete a published version, after asking once more that no alias points at it. Absent is success.

        Raises:
            Conflict: An alias points at it.
        """
        ...
