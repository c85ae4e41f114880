"""Cost of storage and transfer: what the versions at targets cost a month, and what one more of them costs once."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from syncd.cost.bill import EMPTY, Bill, BillLine, plain
from syncd.cost.price_list import PriceList, PriceQuestion

GB: Final = Decimal(10**9)
GIB: Final = Decimal(2**30)
_ITEMS: Final = {"oss": "oss.storage.lrs", "nas": "nas.storage.performance", "image": "acr.storage"}


@dataclass(frozen=True, slots=True)
class StoredBytes:
    """Bytes at one target. `kind` is oss, nas or image; `replicated` ones are brought there by the cloud."""

    target: str
    kind: str
    region: str
    size_bytes: int
    replicated: bool = False
    accelerator_bytes: int = 0  # the capacity of the accelerator in front of it; 0 for none


def stored(prices: PriceList, where: PriceQuestion, at: StoredBytes) -> Bill:
    """What the bytes at a target cost a month. Raises NotFound where the price list has no such region."""
    bill = _line(prices, where, _ITEMS[at.kind], f"storage at {at.target}", at.size_bytes)
    if at.accelerator_bytes:
        bill += _line(prices, where, "oss.accelerator", f"accelerator of {at.target}", at.accelerator_bytes)
    return bill


def brought(prices: PriceList, where: PriceQuestion, at: StoredBytes) -> Bill:
    """What it costs once to bring bytes to a target.

    Replication between buckets is billed by the GB. Bytes that syncd sends come in, which no store bills; what the
    source bills for reading is not in the list. Replication of images makes no cost of its own.
    """
    if at.replicated and at.kind == "oss":
        return _line(prices, where, "oss.replication", f"replication to {at.target}", at.size_bytes)
    return EMPTY


def _line(prices: PriceList, where: PriceQuestion, item: str, what: str, size_bytes: int) -> Bill:
    price = prices.get(item, where)
    if price is None:
        arithmetic = f"{plain(round(size_bytes / GB, 3))} GB"
        return Bill((BillLine(what, arithmetic, None, "", f"{prices.name} has no row for {item} there"),))
    unit, name = (GIB, "GiB") if price.per.startswith("GiB") else (GB, "GB")
    amount = size_bytes / unit
    arithmetic = f"{plain(round(amount, 3))} {name}"
    return Bill((BillLine(what, arithmetic, price.of(amount), price.currency, price.source, price.label),))
