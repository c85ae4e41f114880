"""Estimate of a planned release: minutes by measured rates under the limits of the hours to come, and money."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Final

from syncd.cost.bill import Bill, plain
from syncd.errors import SyncdError
from syncd.reconcile.context import World
from syncd.reconcile.views.plans.costs import ADDED, Reckoning
from syncd.state.content import placements

_STEP_S: Final = 60
_LONGEST_S: Final = 30 * 86_400
_NEWEST: Final = 10  # copies to a target whose rates are looked at
_SHORTEST_S: Final = 0.001  # nothing was sent in less


@dataclass(frozen=True, slots=True)
class TargetEstimate:
    """How long sending to a target takes, and what its bytes cost there. None: not known."""

    seconds: float | None
    measured_bytes_s: float | None
    monthly: Bill | None
    once: Bill | None


def estimates(world: World, model: str, sends: Sequence[tuple[str, int, int]]) -> dict[str, TargetEstimate]:
    """For each target, given with the bytes to send and the bytes that it will hold more of. Contacts no cloud.

    A rate is the median of the newest copies of the model to the target. The limit of a process is shared by all
    targets that are sent to. Without a rate and a limit the time is not known, nor are prices of a region that the
    price list lacks.
    """
    with world.state.read() as conn:
        now = world.state.now(conn)
        copies = placements.times(conn, model)
    sharing = sum(1 for _, send_bytes, _ in sends if send_bytes)
    found = {}
    for target, send_bytes, added_bytes in sends:
        timed = [each for each in copies if each.target == target and each.seconds > _SHORTEST_S]
        rates = [each.size_bytes / each.seconds for each in timed]
        rate = median(rates[-_NEWEST:]) if rates else None
        took = duration_s(send_bytes, rate, lambda at: world.limit_at(at) / max(1, sharing), now)
        monthly, once = _money(world, target, added_bytes, now)
        found[target] = TargetEstimate(took, rate, monthly, once)
    return found


def duration_s(
    size_bytes: int, rate_bytes_s: float | None, limit_at: Callable[[datetime], float], now: datetime
) -> float | None:
    """How long the bytes take from `now` on, at the rate or the limit of the hour, whichever is lower; a limit of 0 is
    none. None where neither is known, or where it would take more than 30 days.
    """
    left, passed_s = float(size_bytes), 0
    while left > 0:
        limit = limit_at(now + timedelta(seconds=passed_s))
        speeds = [speed for speed in (rate_bytes_s, limit) if speed]
        if not speeds or passed_s >= _LONGEST_S:
            return None
        if left <= min(speeds) * _STEP_S:
            return passed_s + left / min(speeds)
        left -= min(speeds) * _STEP_S
        passed_s += _STEP_S
    return 0.0


def totals(bill: Bill | None) -> dict[str, str] | None:
    """The totals of a bill by currency, as JSON."""
    if bill is None:
        return None
    return {currency: "unknown" if amount is None else plain(amount) for currency, amount in bill.totals.items()}


def _money(world: World, target: str, added_bytes: int, now: datetime) -> tuple[Bill | None, Bill | None]:
    try:
        reckoning = Reckoning(world.prices(), world.site, now.date(), world.topology)
        cost = reckoning.cost(target, added_bytes, ADDED)
    except SyncdError:  # `syncd cost` says what is wrong with the list
        return None, None
    return cost.monthly, cost.once
