"""Cost of serving: what functions use, as compute units and as money, beside a machine of the same card."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Final

from syncd.cost.bill import EMPTY, Bill, BillLine, UnitCount, UnitLine, plain
from syncd.cost.price_list import PriceList, PriceQuestion, UnitRates
from syncd.errors import Invalid

DAY_S: Final = 86_400
_ON_DEMAND_STEP_S: Final = Decimal(1)  # a GPU is billed by whole seconds
_PROVISIONED_STEP_S: Final = Decimal(10)
_CALLS: Final = Decimal(10_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSize:
    """The configured size of an instance: it counts, not what is used of it. Without a card it has no GPU."""

    card: str = ""
    gpu_gb: Decimal = Decimal(0)
    vcpu: Decimal = Decimal(0)
    memory_gb: Decimal = Decimal(0)
    disk_gb: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingUsage:
    """Seconds of instances that are active and asleep, and calls, over one period."""

    active_s: Decimal = Decimal(0)
    asleep_s: Decimal = Decimal(0)
    calls: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing runs and nothing is kept."""
        return not (self.active_s or self.asleep_s or self.calls)


@dataclass(frozen=True, slots=True)
class Utilisation:
    """The part of the period in which one instance is busy, in percent."""

    exact_percent: Decimal

    @property
    def as_page_counts(self) -> str:
        """Two digits, cut off: so does the platform's page, 4.1 for 4.1667 and 57 for 57.870."""
        percent = self.exact_percent
        if percent == 0:
            return "0"
        places = min(percent.adjusted() - 1, 0)
        cut = int(percent.scaleb(-places)) if percent.adjusted() < 2 else int(percent)
        return plain(Decimal(cut).scaleb(places if percent.adjusted() < 2 else 0))


def usage(
    *, calls: int, call_s: Decimal, concurrency: int = 1, minimum: int = 0, period_s: Decimal = Decimal(DAY_S)
) -> ServingUsage:
    """What calls of equal length use, spread over the period, with `minimum` instances kept ready.

    Kept instances sleep while they serve nothing. A call that fills an instance alone counts whole seconds; calls that
    share an instance share its seconds.
    """
    step = _PROVISIONED_STEP_S if minimum else _ON_DEMAND_STEP_S
    each_s = Decimal(call_s).quantize(Decimal(1), ROUND_CEILING) if concurrency == 1 else Decimal(call_s) / concurrency
    active_s = _up(calls * each_s, step)
    asleep_s = max(minimum * period_s - active_s, Decimal(0))
    return ServingUsage(active_s=active_s, asleep_s=asleep_s, calls=calls)


def utilisation(used: ServingUsage, period_s: Decimal = Decimal(DAY_S)) -> Utilisation:
    """How busy one instance is that does all of the work."""
    return Utilisation(100 * used.active_s / period_s)


def units(rates: UnitRates, size: InstanceSize, used: ServingUsage) -> UnitCount:
    """Compute units of the usage, by part.

    Raises:
        Invalid: The price list has no such card.
    """
    lines = []
    if size.card:
        card = rates.cards.get(size.card)
        if card is None:
            raise Invalid(f"no tariff for the card {size.card!r}", hint=f"cards: {', '.join(rates.cards)}")
        lines.append(_line("GPU, active", size.gpu_gb, "GB", used.active_s, card.active))
        lines.append(_line("GPU, asleep", size.gpu_gb, "GB", used.asleep_s, card.asleep))
    lines.append(_line("vCPU", size.vcpu, "vCPU", used.active_s, rates.vcpu_s))
    lines.append(_line("memory, active", size.memory_gb, "GB", used.active_s, rates.memory_gb_s))
    asleep = rates.memory_gb_s_asleep if size.card else rates.memory_gb_s
    lines.append(_line("memory, asleep", size.memory_gb, "GB", used.asleep_s, asleep))
    paid_gb = max(size.disk_gb - rates.disk_free_gb, Decimal(0))
    disk = f"disk over {plain(rates.disk_free_gb)} GB"
    lines.append(_line(disk, paid_gb, "GB", used.active_s + used.asleep_s, rates.disk_gb_s))
    called = used.calls * rates.calls_10000 / _CALLS
    lines.append(UnitLine("calls", f"{used.calls} / 10000 × {plain(rates.calls_10000)}", called))
    return UnitCount(tuple(line for line in lines if line.units))


def serving(prices: PriceList, where: PriceQuestion, size: InstanceSize, used: ServingUsage) -> Bill:
    """What the usage of one month costs, under the tariff of the day. Nothing costs nothing.

    Of the tariff before compute units only the GPU's part is in the list; the rest is unknown.

    Raises:
        NotFound: The price list has no such region, or no tariff there on that day.
        Invalid: It has no such card.
    """
    if where.day < prices.units.since:
        return _before_units(prices, where, size, used)
    price = prices.find("fc.cu", where)
    counted = units(prices.units, size, used)
    if not counted.lines:
        return EMPTY
    amount = price.of(counted.total)
    parts = " + ".join(f"{line.what} {plain(line.units)}" for line in counted.lines)
    arithmetic = f"{plain(counted.total)} CU ({parts})"
    return Bill((BillLine("serving", arithmetic, amount, price.currency, price.source, price.label),))


def _before_units(prices: PriceList, where: PriceQuestion, size: InstanceSize, used: ServingUsage) -> Bill:
    price = prices.find(f"fc.gpu.{size.card or '(none)'}", where)
    gb_s = size.gpu_gb * used.active_s
    arithmetic = f"{plain(used.active_s)} s × {plain(size.gpu_gb)} GB"
    gpu = BillLine("serving: GPU", arithmetic, price.of(gb_s), price.currency, price.source, price.label)
    if not (size.vcpu or size.memory_gb or size.disk_gb):
        return Bill((gpu,))
    rest = BillLine("serving: vCPU, memory, disk", "", None, price.currency, "not in the price list", price.label)
    return Bill((gpu, rest))


def machine(prices: PriceList, where: PriceQuestion, card: str, hours: Decimal) -> Bill:
    """What an ECS of the same card costs, that is never released. An unknown price where the list has no row."""
    price = prices.get(f"ecs.{card}", where)
    if price is None:
        return Bill((BillLine(f"ECS with {card}", f"{plain(hours)} h", None, "", "no row in the price list"),))
    line = BillLine(f"ECS with {card}", f"{plain(hours)} h", price.of(hours), price.currency, price.source, price.label)
    return Bill((line,))


def saved_percent(less: Bill, than: Bill) -> Decimal | None:
    """How much less one is than the other, in percent; None where either is unknown or their currencies differ."""
    if less.totals.keys() != than.totals.keys() or len(less.totals) != 1:
        return None
    ((_, low),) = less.totals.items()
    ((_, high),) = than.totals.items()
    return None if low is None or not high else 100 * (high - low) / high


def _line(what: str, size: Decimal, unit: str, seconds: Decimal, rate: Decimal) -> UnitLine:
    arithmetic = f"{plain(size)} {unit} × {plain(seconds)} s × {plain(rate)}"
    return UnitLine(what, arithmetic, size * seconds * rate)


def _up(seconds: Decimal, step: Decimal) -> Decimal:
    return (seconds / step).quantize(Decimal(1), ROUND_CEILING) * step
