"""The price list that is shipped with syncd: a constant, in a file that people can copy and change."""

from __future__ import annotations

from functools import lru_cache
from pkgutil import get_data
from typing import Final

from syncd.cost.price_list import PriceList, parse

NAME: Final = "the shipped price list"


def text() -> str:
    """The shipped price list as TOML."""
    found = get_data(__package__, "prices.toml")
    assert found is not None, "it is part of the package"
    return found.decode()


@lru_cache(maxsize=1)
def shipped() -> PriceList:
    """The shipped price list."""
    return parse(NAME, text())
