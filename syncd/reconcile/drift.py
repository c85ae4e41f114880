"""Compare what serves with the record: where an alias points, its weights, and what of LATEST syncd staged.

Looking at the world takes seconds and is not done in a transaction. So the record is read before and after: where a
release came between, the look says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from syncd.errors import Invalid
from syncd.plan.binding import Binding, change_for
from syncd.plan.drift import Difference, alias_differences, latest_differences
from syncd.plan.fleet import Fleet
from syncd.plan.phases import StepKind
from syncd.reconcile.foresee import Looker
from syncd.reconcile.release import digest_of, servings
from syncd.runtime.base import Change, Runtime
from syncd.state import bases, drifts, flips, live, mends, steps
from syncd.state.records import Drift, FunctionVersion, Live

log = structlog.get_logger("syncd.drift")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the record says of a binding. `latest` is None where it is not known what LATEST should be."""

    live: Live
    newest: FunctionVersion | None  # what was staged last on the binding's function
    latest: Change | None


def wanted(conn: Connection, fleet: Fleet, binding: Binding) -> Wanted | None:
    """What the record wants of a binding; None where syncd never moved it."""
    recorded = live.get(conn, binding.name)
    if recorded is None:
        return None
    names = beside(fleet, binding)
    staged = [version for name in names for version in live.function_versions(conn, name)]
    newest = max(staged, key=lambda version: int(version.function_version), default=None)
    if newest is None or _is_unsettled(conn, names, newest):
        return Wanted(recorded, newest, None)
    return Wanted(recorded, newest, _change(conn, fleet, newest))


def beside(fleet: Fleet, binding: Binding) -> list[str]:
    """The bindings that share this one's function, itself among them: they share LATEST."""
    place = (binding.runtime, binding.function)
    return [other.name for other in fleet.bindings.values() if (other.runtime, other.function) == place]


def differences(runtime: Runtime, binding: Binding, want: Wanted) -> tuple[Difference, ...]:
    """Ask the world: two calls.

    Raises:
        NotFound, Refused, Unavailable: As the runtime says.
    """
    pointed = runtime.read(binding.function, binding.alias)
    found = alias_differences(want.live.function_version, pointed)
    if want.latest is not None:
        found += latest_differences(want.latest, runtime.latest(binding.function, want.latest))
    return found


def compare(looker: Looker, binding: Binding) -> list[Drift]:
    """Look at a binding, and record what is new and what is over. The answer is what is new.

    One that a release or a restore holds is not looked at: it is on its way.

    Raises:
        NotFound, Refused, Unavailable: As the runtime says.
    """
    with looker.state.read() as conn:
        want = None if _is_held(conn, looker.fleet, binding) else wanted(conn, looker.fleet, binding)
    if want is None:
        return []
    found = differences(looker.runtimes[binding.runtime], binding, want)
    with looker.state.write() as conn:
        if _is_held(conn, looker.fleet, binding) or wanted(conn, looker.fleet, binding) != want:
            return []
        new = drifts.note(conn, want.live, found, looker.state.now(conn))
    for drift in new:
        log.warning("drifted", binding=binding.name, function=binding.function, alias=binding.alias, what=drift.what,
                    got=drift.got, want=drift.want, region=looker.fleet.regions[binding.runtime])  # fmt: skip
    return new


def _is_unsettled(conn: Connection, names: Sequence[str], newest: FunctionVersion) -> bool:
    """Whether a staging that did not end well came last: it may have changed LATEST all the same."""
    failed_at = steps.newest_begun(conn, StepKind.STAGE, names, is_done=False)
    done_at = steps.newest_begun(conn, StepKind.STAGE, names, is_done=True)
    return failed_at is not None and failed_at > max(newest.staged_at, done_at or newest.staged_at)


def _is_held(conn: Connection, fleet: Fleet, binding: Binding) -> bool:
    names = beside(fleet, binding)
    return any(flips.holder(conn, name) is not None or mends.find(conn, name) is not None for name in names)


def _change(conn: Connection, fleet: Fleet, newest: FunctionVersion) -> Change | None:
    """What that function version was made of, if the configuration still says the same of it."""
    binding = fleet.bindings[newest.binding]
    try:
        change = change_for(binding, fleet.places, servings(conn, newest.models, bases.over(conn, newest.release_id)))
    except Invalid:  # it was configured with fewer models when this was staged
        return None
    return change if digest_of(change) == newest.change_digest else None
