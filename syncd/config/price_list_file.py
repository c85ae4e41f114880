"""The price list that is configured: the shipped one, or a file."""

from __future__ import annotations

from pathlib import Path

from syncd.cost.price_list import PriceList, parse
from syncd.cost.shipped import shipped
from syncd.errors import Invalid


def price_list_of(path: Path | None) -> PriceList:
    """The list in a file, or the shipped one. Raises Invalid: it cannot be read, or a row is wrong."""
    if path is None:
        return shipped()
    try:
        return parse(str(path), path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror or error}", hint="see cost.prices, or --prices") from error
    except UnicodeDecodeError as error:
        raise Invalid(
            f"{path}: not UTF-8", hint="`syncd cost prices --template` prints a list to begin with"
        ) from error
