"""Object keys, validated by every store."""

from __future__ import annotations

from typing import Final

from syncd.errors import Invalid, Refused
from syncd.values.source import Location

KEY_MAX_BYTES: Final = 1023  # OSS's limit, taken as everybody's


def parse_key(text: str, *, room_bytes: int = 0) -> str:
    """An object's key: relative, '/'-separated. A '/' at the end names a directory's marker.

    `room_bytes` is what the store itself puts in front.

    Raises:
        Invalid: It is empty, absolute, too long, or has an empty part, '.', '..' or control characters.
    """
    parts = text.removesuffix("/").split("/")
    if not all(parts) or any(part in {".", ".."} for part in parts):
        raise Invalid(f"key {text[:120]!r} has an empty part, '.' or '..'")
    is_plain = text.isascii() and text.isprintable()  # most keys are, and need no check of each character
    if (not is_plain and any(ord(c) < 32 or ord(c) == 127 for c in text)) or "\\" in text:
        raise Invalid(f"key {text[:120]!r} contains control characters or a backslash")
    size_bytes = len(text.encode("utf-8", "surrogatepass")) + room_bytes
    if size_bytes > KEY_MAX_BYTES:
        raise Invalid(f"key {text[:120]!r} is {size_bytes} bytes long, at most {KEY_MAX_BYTES} are allowed")
    return text


def parse_source(source: str | Location, place: str) -> str:
    """The key of what is to be copied, for a store that is not a bucket.

    Raises:
        Refused: It is in a bucket.
    """
    if isinstance(source, Location):
        raise Refused(f"{place}: {source.bucket}/{source.key} is in a bucket in {source.region}, and this is none")
    return source


def parse_prefix(text: str) -> str:
    """What keys are listed by: empty, or a key that ends with '/'.

    Raises:
        Invalid: It is something else.
    """
    if text and not text.endswith("/"):
        raise Invalid(f"prefix {text[:120]!r} does not end with '/'")
    return parse_key(text) if text else text
