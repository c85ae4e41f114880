"""Model cards: the front matter of README.md, as far as it is plain keys and texts.

Source: huggingface.co/docs/hub/model-cards: metadata is YAML between two lines of three dashes, `license` among it.
"""

from __future__ import annotations

from typing import Final

CARD: Final = "README.md"
CARD_BYTES_MAX: Final = 64 << 10
_KEYS_MAX: Final = 200
_TEXT_MAX: Final = 500
_FENCE: Final = "---"


def read_card(data: bytes) -> dict[str, str]:
    """The top-level texts of a card; empty where it has no front matter. Lists and tables in it are left out."""
    lines = data[:CARD_BYTES_MAX].decode(errors="replace").splitlines()
    if not lines or lines[0].strip() != _FENCE:
        return {}
    found: dict[str, str] = {}
    for line in lines[1:]:
        if line.strip() == _FENCE:
            return found
        key, colon, value = line.partition(":")
        if colon and key and key == key.strip() and not key.startswith(("#", "-")) and len(found) < _KEYS_MAX:
            text = _text(value.strip())
            if text and key in found:
                return {}  # loaders disagree about which one counts
            if text:
                found[key] = text
    return {}  # the front matter does not end


def _text(value: str) -> str:
    if value[:1] in {"'", '"'} and value.endswith(value[:1]) and len(value) > 1:
        return value[1:-1][:_TEXT_MAX]
    if value[:1] in {"[", "{", "|", ">", "&", "*", "!"}:
        return ""
    return value.partition(" #")[0].strip()[:_TEXT_MAX]
