"""Price list: what an item costs on a site, in a region, on a day, and where that is written."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from syncd.errors import Invalid, NotFound
from syncd.values.patterns import selects

FORMAT: Final = 1
SITES: Final = ("china", "international")
UNKNOWN: Final = "unknown"
_REFRESH: Final = "`syncd cost prices --template` prints the shipped list: copy it, change it, use --prices"
_ROW_KEYS: Final = frozenset(
    {"item", "site", "region", "from", "to", "currency", "per", "price", "tiers", "source", "label"}
)
_CU_KEYS: Final = (
    "vcpu_s",
    "memory_gb_s",
    "memory_gb_s_asleep",
    "disk_gb_s",
    "disk_free_gb",
    "calls_10000",
)


@dataclass(frozen=True, slots=True)
class PriceQuestion:
    """The site of the account, the region, and the day that prices are asked for."""

    site: str
    region: str
    day: date


@dataclass(frozen=True, slots=True)
class PriceTier:
    """The price of each unit up to an amount in a month and region; None for all above."""

    up_to: Decimal | None
    price: Decimal


@dataclass(frozen=True, slots=True)
class Price:
    """One row. Without tiers the price is not known; `label` says of one from elsewhere what it is."""

    item: str
    site: str
    region: str
    since: date
    until: date | None
    currency: str
    per: str
    tiers: tuple[PriceTier, ...]
    source: str
    label: str = ""

    @property
    def is_known(self) -> bool:
        """Whether it has a value."""
        return bool(self.tiers)

    def of(self, amount: Decimal) -> Decimal | None:
        """The price of an amount, each tier's part at the tier's price; None where it is not known."""
        if not self.is_known:
            return None
        total, below = Decimal(0), Decimal(0)
        for tier in self.tiers:
            upper = amount if tier.up_to is None else min(amount, tier.up_to)
            total += max(upper - below, Decimal(0)) * tier.price
            below = max(below, upper)
        return total

    def is_for(self, item: str, where: PriceQuestion) -> bool:
        """Whether it is the item's price there on that day."""
        if (self.item, self.site) != (item, where.site) or not selects(self.region, where.region):
            return False
        return self.since <= where.day and (self.until is None or where.day <= self.until)


@dataclass(frozen=True, slots=True)
class CardRates:
    """Compute units for each GB of GPU memory and second."""

    active: Decimal
    asleep: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRates:
    """How usage becomes compute units."""

    since: date
    source: str
    cards: Mapping[str, CardRates]
    vcpu_s: Decimal
    memory_gb_s: Decimal
    memory_gb_s_asleep: Decimal
    disk_gb_s: Decimal
    disk_free_gb: Decimal
    calls_10000: Decimal


@dataclass(frozen=True, slots=True)
class PriceList:
    """All rows. `name` says which list it is, in messages."""

    name: str
    prices: tuple[Price, ...]
    units: UnitRates
    regions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # site -> regions

    def check(self, where: PriceQuestion) -> None:
        """Raises NotFound where the list has no such site or region."""
        known = self.regions.get(where.site)
        if known is None:
            raise NotFound(f"{self.name} has no site {where.site!r}", hint=f"sites: {', '.join(self.regions)}")
        if where.region not in known:
            raise NotFound(
                f"{self.name} has no region {where.region!r} of the {where.site} site",
                hint=f"regions: {', '.join(known)}; {_REFRESH}",
            )

    def find(self, item: str, where: PriceQuestion) -> Price:
        """The price of an item there on that day; it may be unknown.

        Raises:
            NotFound: The list has no such region, or no row for the item there on that day.
        """
        self.check(where)
        rows = [price for price in self.prices if price.is_for(item, where)]
        if not rows:
            raise NotFound(
                f"{self.name} has no price of {item} in {where.region} ({where.site} site) on {where.day}",
                hint=_REFRESH,
            )
        return max(rows, key=lambda price: (len(price.region.rstrip("*")), price.since))

    def get(self, item: str, where: PriceQuestion) -> Price | None:
        """As `find`, but None where the list has no row for the item there on that day."""
        try:
            return self.find(item, where)
        except NotFound:
            self.check(where)
            return None


def parse(name: str, text: str) -> PriceList:
    """Read a price list.

    Raises:
        Invalid: It is not TOML, of another format, or a row is wrong; the message names the row and the key.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"{name}: not TOML: {error}", hint=_REFRESH) from error
    if document.get("format") != FORMAT:
        raise Invalid(f"{name}: format: expected {FORMAT}, got {document.get('format')!r}", hint=_REFRESH)
    for key in document.keys() - {"format", "regions", "prices", "cu"}:
        raise Invalid(f"{name}: unknown key {key!r}", hint=_REFRESH)
    rows = document.get("prices")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise Invalid(f"{name}: expected [[prices]] rows", hint=_REFRESH)
    prices = tuple(_price(f"{name}: prices[{number}] ({row.get('item', '?')})", row) for number, row in enumerate(rows))
    return PriceList(name, prices, _units(name, document.get("cu")), _regions(name, document.get("regions"), prices))


def _regions(name: str, found: object, prices: Iterable[Price]) -> dict[str, tuple[str, ...]]:
    if not isinstance(found, dict) or not all(isinstance(each, list) for each in found.values()):
        raise Invalid(f"{name}: regions: expected lists of regions by site", hint=_REFRESH)
    for site in {price.site for price in prices} - found.keys():
        raise Invalid(f"{name}: regions: the site {site!r} has prices and no list of regions", hint=_REFRESH)
    return {site: tuple(map(str, regions)) for site, regions in found.items()}


def _price(where: str, row: Mapping[str, Any]) -> Price:
    for key in row.keys() - _ROW_KEYS:
        raise Invalid(f"{where}: unknown key {key!r}", hint=f"keys: {', '.join(sorted(_ROW_KEYS))}")
    if ("price" in row) == ("tiers" in row):
        raise Invalid(f"{where}: expected either price or tiers", hint='a price may be "unknown"')
    since, until = _day(where, row, "from"), _day(where, row, "to") if "to" in row else None
    if until is not None and until < since:
        raise Invalid(f"{where}: to: {until} is before from: {since}", hint=_REFRESH)
    site = _word(where, row, "site")
    if site not in SITES:
        raise Invalid(f"{where}: site: expected {' or '.join(SITES)}, got {site!r}")
    words = [_word(where, row, key) for key in ("item", "region", "currency", "per", "source")]
    item, region, currency, per, source = words
    tiers = _tiers(where, row["tiers"]) if "tiers" in row else _single(where, row["price"])
    return Price(item, site, region, since, until, currency, per, tiers, source, str(row.get("label", "")))


def _single(where: str, price: object) -> tuple[PriceTier, ...]:
    return () if price == UNKNOWN else (PriceTier(None, _decimal(f"{where}: price", price)),)


def _tiers(where: str, found: object) -> tuple[PriceTier, ...]:
    if not isinstance(found, list) or not found or not all(isinstance(tier, dict) for tier in found):
        raise Invalid(f"{where}: tiers: expected a list of {{ up_to, price }}")
    tiers = []
    below = Decimal(0)
    for number, tier in enumerate(found):
        here = f"{where}: tiers[{number}]"
        is_last = number == len(found) - 1
        if ("up_to" in tier) == is_last:
            raise Invalid(f"{here}: expected `up_to` in every tier but the last")
        up_to = None if is_last else _decimal(f"{here}.up_to", tier["up_to"])
        if up_to is not None and up_to <= below:
            raise Invalid(f"{here}.up_to: expected more than {below}, got {up_to}")
        below = up_to or below
        tiers.append(PriceTier(up_to, _decimal(f"{here}.price", tier.get("price"))))
    return tuple(tiers)


def _units(name: str, found: object) -> UnitRates:
    where = f"{name}: cu"
    if not isinstance(found, dict) or not isinstance(found.get("cards"), dict):
        raise Invalid(f"{where}: expected the table [cu] with [cu.cards]", hint=_REFRESH)
    cards = {}
    for card, rates in found["cards"].items():
        if not isinstance(rates, dict) or rates.keys() != {"active", "asleep"}:
            raise Invalid(f"{where}.cards.{card}: expected {{ active, asleep }}", hint=_REFRESH)
        here = f"{where}.cards.{card}"
        cards[card] = CardRates(*(_decimal(f"{here}.{key}", rates[key]) for key in ("active", "asleep")))
    numbers = {key: _decimal(f"{where}.{key}", found.get(key)) for key in _CU_KEYS}
    return UnitRates(since=_day(where, found, "from"), source=_word(where, found, "source"), cards=cards, **numbers)


def _word(where: str, row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value:
        raise Invalid(f"{where}: {key}: expected text, got {_shown(value)}", hint=_REFRESH)
    return value


def _day(where: str, row: Mapping[str, Any], key: str) -> date:
    value = row.get(key)
    if not isinstance(value, date) or isinstance(value, datetime):
        raise Invalid(f"{where}: {key}: expected a date such as 2024-08-27, got {_shown(value)}", hint=_REFRESH)
    return value


def _decimal(where: str, value: object) -> Decimal:
    """A price, exactly as it is written: a floating-point number would not be that."""
    try:
        number = Decimal(value) if isinstance(value, str | int) and not isinstance(value, bool) else Decimal("NaN")
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or number < 0:
        raise Invalid(f'{where}: expected a number in quotes such as "0.12", got {_shown(value)}', hint=_REFRESH)
    return number


def _shown(value: object) -> str:
    return "nothing" if value is None else repr(value)[:60]
