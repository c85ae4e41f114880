"""Text that people write and others are shown later: in events, terminals and logs."""

from __future__ import annotations

from typing import Final
from unicodedata import category

from syncd.errors import Invalid

WHY_MAX: Final = 10_000
WHO_MAX: Final = 256
_CONTROL: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control characters, lone surrogates, line and paragraph ends


def shown_text(text: str, what: str, longest: int = WHY_MAX) -> str:
    """`text`, if it can be shown anywhere: a control character may rewrite what a terminal shows.

    Raises:
        Invalid: It is longer than `longest`, or has a control character, a line break among them.
    """
    if len(text) > longest or any(category(each) in _CONTROL for each in text):
        message = f"{what}: expected text of at most {longest} characters without control characters"
        raise Invalid(message, hint="write it in one line")
    return text


def printable(text: str) -> str:
    """`text` with `?` for each character that is not printable, at most `WHO_MAX` characters."""
    return "".join(each if each.isprintable() else "?" for each in text[:WHO_MAX])
