"""The seam to a runtime: the functions of one region, their published versions and their aliases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from syncd.errors import Failed
from syncd.values.function import AliasState, Change, Probe, ProbeReport, Scaling, Staged


class ProbeFailed(Failed):
    """The function answers, and not as it must. `report` has every request that was made."""

    def __init__(self, message: str, report: ProbeReport, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.report = report


Waiting = Callable[[str], None]
"""Told what is being waited for, now and then; may raise Cancelled to stop the wait."""


def waits_for_nobody(_what: str) -> None:
    """A wait that is never stopped."""


def function_gone_hint(function: str) -> str:
    """What a person does about a function that is not there."""
    return (
        f"create the function {function} again with the tool that made it: a release under way goes on by itself,"
        " else publish the version that it is to serve"
    )


class Runtime(Protocol):
    """The functions of one region. Safe to call from several threads; one mover per function is the caller's duty."""

    def read(self, function: str, alias: str) -> AliasState:
        """Where the alias points now.

        Raises:
            NotFound: There is no such function. (An absent alias is an answer.)
            Unavailable: The look failed; nothing is known.
        """
        ...

    def descriptions(self, function: str) -> Sequence[tuple[str, str]]:
        """The newest published versions of a function, at most 50, with their descriptions, newest first.

        Raises:
            NotFound: There is no such function.
            Unavailable: It could not be read; nothing is known.
        """
        ...

    def latest(self, function: str, like: Change, version: str | None = None) -> Change:
        """Of LATEST, or of a published version, what `like` names: mounts at its directories, variables, the image.

        An image has the digest that the platform resolved its tag to; none where it has not resolved it.

        What is absent is left out, and so is all that `like` does not name: it may be anybody's secret.

        Raises:
            NotFound: There is no such function, or no such version.
            Unavailable: It could not be read; nothing is known.
        """
        ...

    def stage(self, function: str, change: Change, token: str, *, known: Sequence[str], waiting: Waiting) -> Staged:
        """Have a published version that carries `change`, and wait until it can serve.

        Looks first: one of `known` (versions believed to carry it, best first), or one published under `token`
        that carries it, is used; where nothing differs from the newest version, that one is. Where nothing differs
        from a version that was deleted, a variable of syncd's makes the new one differ. Repeating it after any crash
        ends with one such version.

        An image is carried where the platform resolved its tag to its digest. Preparing one may take the platform
        long, and where it gives up for that, it is asked again.

        Raises:
            NotFound: There is no such function.
            Failed: The platform refused or failed the update, or it found another image under the tag; its reason is
                in the message.
            Conflict: Somebody else changed the function meanwhile.
            Unavailable: Try again.
        """
        ...

    def probe(
        self,
        function: str,
        candidate: str,
        function_version: str,
        probe: Probe,
        waiting: Waiting = waits_for_nobody,
    ) -> ProbeReport:
        """Point the alias `candidate` at the version, ask everything through it, and check the answers.

        All requests are made, one after another, though one was answered wrong; `waiting` is told of each. Repeating
        it is harmless and gives new figures: a canary is judged by the same reports.

        Raises:
            ProbeFailed: It answered with an error, too late, without a digest or otherwise than it must; got and
                want are in the message.
            Failed: The platform cannot run it.
            NotFound: There is no such function or version.
            Unavailable: A call could not be made, or was not answered in time.
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

    def split(self, function: str, alias: str, to: str, expect: str, share: float) -> AliasState:
        """Have `alias` stay at `expect` and send `share` (above 0, below 1) of its requests to `to`.

        It must point at `expect`, with a share for `to` or none. `flip` ends it, either way. An unknown outcome is
        settled by reading. Returns what was read back.

        Raises:
            Conflict: It points elsewhere, or sends a share elsewhere; nothing was changed.
            NotFound: There is no such function or version.
            Unavailable: Not changed, or unreadable.
        """
        ...

    def scaling(self, function: str, alias: str) -> Scaling:
        """What hangs on the alias. Instances come in their own time: `current` follows `target`.

        Raises:
            NotFound: There is no such function or alias.
            Unavailable: The look failed; nothing is known.
        """
        ...

    def scale(self, function: str, alias: str, settings: Mapping[str, Mapping[str, object]], least: int = 0) -> None:
        """Have these settings hang on the alias, as `Scaling.settings` gave them, with at least `least` instances.

        What hangs there otherwise is removed: with no settings and no instances nothing is left. Repeating it is
        success. It does not wait for instances.

        Raises:
            NotFound: There is no such function or alias.
            Failed, Refused: The platform will not have it; its reason is in the message.
            Unavailable: Some of it may be done; repeating it does the rest.
        """
        ...

    def retire(self, function: str, function_version: str) -> None:
        """Delete a published version, after asking once more that no alias points at it. Absent is success.

        Raises:
            Conflict: An alias points at it.
        """
        ...
