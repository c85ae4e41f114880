"""Moves of an alias on Function Compute, which has no compare-and-swap: read, write and read back.

The calls are parameters, since the SDK is imported elsewhere. An unknown outcome of a write is resolved by reading.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from syncd.errors import Conflict, OutcomeUnknown, Unavailable
from syncd.runtime.base import MOVED_HINT
from syncd.values.function import AliasState


@dataclass(frozen=True, slots=True)
class AliasCalls:
    """The single calls that a move consists of."""

    read: Callable[[str, str], AliasState]
    check_version: Callable[[str, str], object]  # function and version; raises NotFound
    write: Callable[[str, str, AliasState, AliasState], None]  # function, alias, from, to


def flip(calls: AliasCalls, function: str, alias: str, to: str | None, expect: str | None) -> AliasState:
    """`Runtime.flip`."""
    now = calls.read(function, alias)
    if now.function_version not in {expect, to}:
        raise _elsewhere(function, alias, now, expect)
    return _moved(calls, function, alias, now, AliasState(to))


def split(calls: AliasCalls, function: str, alias: str, to: str, expect: str, share: float) -> AliasState:
    """`Runtime.split`."""
    now = calls.read(function, alias)
    if now.function_version != expect or not now.weights.keys() <= {to}:
        raise _elsewhere(function, alias, now, expect)
    return _moved(calls, function, alias, now, AliasState(expect, {to: share}))


def set_alias(calls: AliasCalls, function: str, alias: str, to: str) -> None:
    """Point one of syncd's own aliases at a version, wherever it pointed: a candidate, which no caller uses.

    The version is not checked before: the next request through the alias shows whether it exists.

    Raises:
        Conflict: Another process moves it at the same time.
        Unavailable: Not moved, or unreadable.
    """
    _written(calls, function, alias, calls.read(function, alias), AliasState(to))


def _elsewhere(function: str, alias: str, now: AliasState, expect: str | None) -> Conflict:
    return Conflict(
        f"{function}:{alias} points at {now}, expected {expect}",
        hint=MOVED_HINT,
    )


def _moved(calls: AliasCalls, function: str, alias: str, now: AliasState, wanted: AliasState) -> AliasState:
    for version in () if now.is_like(wanted) else (wanted.function_version, *wanted.weights):
        if version is not None:
            calls.check_version(function, version)  # the platform accepts an alias to a missing version; syncd does not
    return _written(calls, function, alias, now, wanted)


def _written(calls: AliasCalls, function: str, alias: str, now: AliasState, wanted: AliasState) -> AliasState:
    if now.is_like(wanted):
        return now
    try:
        calls.write(function, alias, now, wanted)
    except OutcomeUnknown as unknown:
        settled = calls.read(function, alias)
        if settled.is_like(wanted):
            return settled
        raise Unavailable(f"{function}:{alias} did not move: {unknown.message}", hint=unknown.hint) from unknown
    after = calls.read(function, alias)
    if not after.is_like(wanted):
        raise Conflict(f"{function}:{alias} was moved to {wanted} and now points at {after}")
    return after
