"""Checks side by side: each in a thread of its own that can be abandoned, so that one that hangs delays no other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from syncd.errors import Refused, SyncdError, Unavailable

AT_ONCE: Final = 16
LIMIT_S: Final = 60.0

Kind = Literal["wrong", "refused", "unavailable", "warning"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One thing that is not as syncd needs it: where, what, and what to do."""

    check: str
    where: str
    what: str
    cure: str
    kind: Kind = "wrong"
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `find` may raise a SyncdError, which is its finding."""

    name: str
    where: str
    find: Callable[[], Iterator[CheckResult]]


@dataclass(slots=True)
class _Running:
    check: Check
    found: list[CheckResult] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)


def run(checks: Sequence[Check], limit_s: float = LIMIT_S) -> list[CheckResult]:
    """The findings of all checks, in their order. A check that takes longer is a finding, and its thread is left."""
    places = threading.BoundedSemaphore(AT_ONCE)
    running = [_Running(check) for check in checks]
    for each in running:
        places.acquire(timeout=limit_s)
        threading.Thread(target=_examine, args=(each, places), name=f"doctor {each.check.name}", daemon=True).start()
    return [finding for each in running for finding in _result(each, limit_s)]


def of_error(check: Check, error: SyncdError) -> CheckResult:
    """The finding that an error is."""
    kind: Kind = (
        "refused" if isinstance(error, Refused) else "unavailable" if isinstance(error, Unavailable) else "wrong"
    )
    cure = error.hint or ("check the network, the address and the service" if kind == "unavailable" else "correct it")
    return CheckResult(check.name, check.where, error.message, cure, kind)


def _examine(running: _Running, places: threading.BoundedSemaphore) -> None:
    check = running.check
    try:
        running.found = list(check.find())
    except SyncdError as error:
        running.found = [of_error(check, error)]
    finally:
        running.done.set()
        places.release()


def _result(running: _Running, limit_s: float) -> list[CheckResult]:
    if running.done.wait(limit_s):
        return running.found
    check, what = running.check, f"no answer within {limit_s:.0f} s"
    return [CheckResult(check.name, check.where, what, "check the network, or the mount, and try again", "unavailable")]
