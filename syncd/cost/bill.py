"""Bill: lines with their arithmetic, and a total that is known only where every line is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

_SIGNIFICANT: Final = 3


@dataclass(frozen=True, slots=True)
class BillLine:
    """One line. `amount` is None where the price is not known; `label` says what kind of price it is."""

    what: str
    arithmetic: str
    amount: Decimal | None
    currency: str
    source: str
    label: str = ""

    def as_json(self) -> dict[str, object]:
        """The line as JSON; an amount is text, so that no digit is lost."""
        return {
            "what": self.what,
            "arithmetic": self.arithmetic,
            "amount": "unknown" if self.amount is None else plain(self.amount),
            "currency": self.currency,
            "source": self.source,
            "label": self.label or None,
        }


@dataclass(frozen=True, slots=True)
class Bill:
    """Lines of one kind. Amounts of different currencies are not added."""

    lines: tuple[BillLine, ...]

    @property
    def totals(self) -> Mapping[str, Decimal | None]:
        """The total by currency; None where a line of it is not known."""
        found: dict[str, Decimal | None] = {}
        for line in self.lines:
            before = found.get(line.currency, Decimal(0))
            found[line.currency] = None if before is None or line.amount is None else before + line.amount
        return found

    @property
    def text(self) -> str:
        """`CNY 361.977`, or `CNY unknown`; `0` without a line."""
        return " + ".join(money(amount, currency) for currency, amount in self.totals.items()) or "0"

    def as_json(self) -> dict[str, object]:
        """The bill as JSON."""
        totals = {c: "unknown" if amount is None else plain(amount) for c, amount in self.totals.items()}
        return {"lines": [line.as_json() for line in self.lines], "totals": totals}

    def __add__(self, other: Bill) -> Bill:
        """Both as one."""
        return Bill(self.lines + other.lines)


EMPTY: Final = Bill(())


@dataclass(frozen=True, slots=True)
class UnitLine:
    """Compute units of one part of the usage."""

    what: str
    arithmetic: str
    units: Decimal


@dataclass(frozen=True, slots=True)
class UnitCount:
    """Compute units of the usage, by part."""

    lines: tuple[UnitLine, ...] = field(default_factory=tuple)

    @property
    def total(self) -> Decimal:
        """All of them."""
        return sum((line.units for line in self.lines), Decimal(0))


def total(bills: Iterable[Bill]) -> Bill:
    """All bills as one."""
    return sum(bills, EMPTY)


def money(amount: Decimal | None, currency: str) -> str:
    """`USD 0.259`: at least two decimals, three digits of what is smaller than 1."""
    if amount is None:
        return f"{currency} unknown"
    places = 2 if amount == 0 or abs(amount) >= 1 else max(2, _SIGNIFICANT - 1 - amount.adjusted())
    shown = amount.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    return f"{currency} {shown:,f}".replace(",", " ")


def plain(number: Decimal) -> str:
    """A number as written: no exponent, no zeros at the end."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
