"""A secret that does not print: not in a message, a log line, a traceback, nor in JSON."""

from __future__ import annotations

import hmac
from typing import Final, NoReturn

MASK: Final = "********"


class Secret:
    """Text that only `reveal` gives away. Equal secrets are equal, compared in constant time; they hash alike."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one call that needs it. Never keep or log what this returns."""
        return self._text

    def __repr__(self) -> str:
        return MASK

    def __format__(self, format_spec: str) -> str:
        return format(MASK, format_spec)

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled: it would lie in clear wherever the pickle goes")
