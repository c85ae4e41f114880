"""Memory bounds of JSON from outside, estimated from its bytes before anything is built."""

from __future__ import annotations

import re
from typing import Final

from syncd.errors import Invalid

JSON_MEMORY_MAX_BYTES: Final = 384 << 20  # of the 512 MB that syncd ships with; some 50 MiB of file entries
_VALUE_BYTES: Final = 64  # an empty list, or a short text, and its place
_OBJECT_BYTES: Final = 160  # more than a list
_KEY_BYTES: Final = 64  # the text, and its place
_FOUR_BYTES: Final = re.compile(rb"[\xf0-\xf7]")
_TWO_BYTES: Final = re.compile(rb"[\xc4-\xef]")


def check_json_bounds(data: bytes, what: str) -> None:
    """Check that a JSON text can be built in bounded memory. Reads the bytes a few times, and allocates nothing.

    Punctuation inside of texts counts too, so the estimate is rather too high than too low.

    Raises:
        Invalid: It would take more than `JSON_MEMORY_MAX_BYTES`.
    """
    objects, keys = data.count(b"{"), data.count(b":")
    values = data.count(b",") + data.count(b"[") + objects
    estimate_bytes = values * _VALUE_BYTES + objects * _OBJECT_BYTES + keys * _KEY_BYTES
    estimate_bytes += len(data) * _character_bytes(data)
    if estimate_bytes > JSON_MEMORY_MAX_BYTES:
        raise Invalid(
            f"{what}: the JSON of {len(data)} bytes has up to {values} values and would take {estimate_bytes >> 20} MiB"
            f" of memory, at most {JSON_MEMORY_MAX_BYTES >> 20} MiB are used",
            hint="split the listing: fewer files, versions or models in one document",
        )


def _character_bytes(data: bytes) -> int:
    """How many bytes Python needs for a character: of the document's text, and of the widest text in it."""
    document = 4 if _FOUR_BYTES.search(data) else 2 if _TWO_BYTES.search(data) else 1
    return document + (4 if b"\\u" in data else document)
