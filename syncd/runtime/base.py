"""Interface of a runtime: the functions of one region, their published versions and their aliases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from syncd.errors import Failed
from syncd.values.function import AliasState, Change, InstanceSettings, Probe, ProbeReport, Scaling, Staged

MOVED_HINT: Final = (
    "the alias was moved outside syncd; `syncd restore BINDING` moves it back, `syncd adopt BINDING` keeps it there"
)


class ProbeFailed(Failed):
    """The function answers incorrectly. `report` has every request that was made."""

    def __init__(self, message: str, report: ProbeReport, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.report = report


Waiting = Callable[[str], None]
"""Called now and then with a description of the wait; may raise Cancelled to stop it."""


def ignore_waits(_what: str) -> None:
    """A `Waiting` that never stops a wait."""


def function_gone_hint(function: str) -> str:
    """The hint for a missing function."""
    return (
        f"create the function {function} again with the tool that made it: a release under way goes on by itself,"
        " else publish the version that it is to serve"
    )


class Runtime(Protocol):
    """The functions of one region. Safe to call from several threads; callers ensure one mover per function."""

    def read(self, function: str, alias: str) -> AliasState:
        """The function version that the alias points at now.

        Raises:
            NotFound: The function does not exist. (An absent alias is an answer.)
            Unavailable: It could not be read; nothing is known.
        """
        ...

    def descriptions(self, function: str) -> Sequence[tuple[str, str]]:
        """The newest published versions of a function, at most 50, with their descriptions, newest first.

        Raises:
            NotFound: The function does not exist.
            Unavailable: It could not be read; nothing is known.
        """
        ...

    def latest(self, function: str, like: Change, version: str | None = None) -> Change:
        """The parts of LATEST, or of a published version, that `like` has: mounts by directory, variables, the image.

        What `like` must not have is looked for by name, too.

        An image has the digest that the platform resolved its tag to, or none before that.

        Absent parts are left out, and so is everything that `like` does not have: it may be another user's secret.

        Raises:
            NotFound: The function or the version does not exist.
            Unavailable: It could not be read; nothing is known.
        """
        ...

    def instance(self, function: str) -> InstanceSettings:
        """The size of the function's instances, as LATEST has it.

        Raises:
            NotFound: The function does not exist.
            Unavailable: It could not be read; nothing is known.
        """
        ...

    def stage(self, function: str, change: Change, token: str, *, known: Sequence[str], waiting: Waiting) -> Staged:
        """Publish a version that carries `change`, and lacks what it must not have; wait until it can serve.

        An existing version is reused: one of `known` (believed to carry it, best first), one published under `token`
        that carries it, or the newest one where nothing differs from it. Where nothing differs from a version that was
        deleted, a variable of syncd's makes the new one differ. Repeating it after any crash ends with one such
        version.

        An image is carried when the platform has resolved its tag to its digest. Preparing one may take the platform
        long, and after its timeout it is requested again.

        Raises:
            NotFound: The function does not exist.
            Failed: The platform refused or failed the update, or it found another image under the tag; its reason is
                in the message.
            Conflict: Another process or person changed the function meanwhile.
            Unavailable: Try again.
        """
        ...

    def probe(
        self,
        function: str,
        candidate: str,
        function_version: str,
        probe: Probe,
        waiting: Waiting = ignore_waits,
    ) -> ProbeReport:
        """Point the alias `candidate` at the version, send every request through it, and check the answers.

        With the version itself as `candidate` no alias is pointed, and the requests go to the version.

        All requests are made, one after another, even after a wrong answer; `waiting` is called before each. Repeating
        it is harmless and gives new figures: canary analysis uses the same reports.

        Raises:
            ProbeFailed: It answered with an error, too late, without a digest or otherwise incorrectly; got and
                want are in the message.
            Failed: The platform cannot run it.
            NotFound: The function or the version does not exist.
            Unavailable: A call could not be made, or was not answered in time.
        """
        ...

    def ask(self, function: str, qualifier: str, body: bytes, timeout_s: float) -> bytes:
        """Invoke through an alias or a version, and return the answer.

        Raises:
            Failed: The function answered with an error.
            NotFound: The function, alias or version does not exist.
            Unavailable: The call could not be made, or its answer broke off.
        """
        ...

    def flip(self, function: str, alias: str, to: str | None, expect: str | None) -> AliasState:
        """Point `alias` wholly at `to`, if it points at `expect` (None: does not exist) or at `to` already.

        With `to` None the alias is deleted: the undo of a first release.

        An unknown outcome is resolved by reading. Returns what was read back.

        Raises:
            Conflict: It points elsewhere; nothing was changed.
            NotFound: The function or the version does not exist.
            Unavailable: Not moved, or unreadable.
        """
        ...

    def split(self, function: str, alias: str, to: str, expect: str, share: float) -> AliasState:
        """Keep `alias` at `expect` and shift `share` (above 0, below 1) of its requests to `to`.

        It must point at `expect`, with a share for `to` or none. `flip` ends it, either way. An unknown outcome is
        resolved by reading. Returns what was read back.

        Raises:
            Conflict: It points elsewhere, or sends a share elsewhere; nothing was changed.
            NotFound: The function or the version does not exist.
            Unavailable: Not changed, or unreadable.
        """
        ...

    def scaling(self, function: str, alias: str) -> Scaling:
        """The scaling of the alias. Instances start asynchronously: `current` follows `target`.

        Raises:
            NotFound: The function or the alias does not exist.
            Unavailable: It could not be read; nothing is known.
        """
        ...

    def scale(self, function: str, alias: str, settings: Mapping[str, Mapping[str, object]], least: int = 0) -> None:
        """Set these scaling settings of the alias, as returned in `Scaling.settings`, with at least `least` instances.

        Other settings are removed: without settings and instances nothing is left. Repeating it is
        success. It does not wait for instances.

        Raises:
            NotFound: The function or the alias does not exist.
            Failed, Refused: The platform refuses; its reason is in the message.
            Unavailable: A part may be done; repeating it does the rest.
        """
        ...

    def retire(self, function: str, function_version: str) -> None:
        """Delete a published version, after checking again that no alias points at it. Absent is success.

        Raises:
            Conflict: An alias points at it.
        """
        ...
