"""Mistakes in TOML: what the parser says, in the words of the person who edits the file."""

from __future__ import annotations

import re
import tomllib
from typing import Final

from syncd.config.problems import Problem, key_path

_PLACE: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_TWICE: Final = re.compile(r"Cannot declare \((.*?),?\) twice")
_MERGE_MARKS: Final = ("<<<<<<<", "=======", ">>>>>>>")
_KEY: Final = re.compile(r"\s*([A-Za-z0-9_-]+(?:\s*\.\s*[A-Za-z0-9_-]+)*)\s*[=:]")
_TABLE: Final = re.compile(r"\s*\[{1,2}\s*([^\]]+?)\s*\]{1,2}")
BYTE_ORDER_MARK: Final = "\ufeff"


def problem_of(text: str, error: tomllib.TOMLDecodeError) -> Problem:
    """The problem of a text that is not TOML. Of the text only keys are shown: a value may be a secret."""
    place = _PLACE.search(str(error))
    said = _PLACE.sub("", str(error))
    number = int(place[1]) if place and place[1] else 0
    lines = text.splitlines()
    line = lines[number - 1] if 0 < number <= len(lines) else ""
    at = f" at line {number}" if number else " at the end"
    if text.startswith(BYTE_ORDER_MARK):
        return Problem("", "a byte order mark at the beginning", "save the file as UTF-8 without one")
    if line.startswith(_MERGE_MARKS):
        return Problem("", f"the mark of an unfinished merge{at}", "finish the merge")
    if twice := _TWICE.fullmatch(said):
        names = re.findall(r"'([^']*)'", twice[1])
        return Problem(key_path(*names), f"the table again{at}", "put all of its settings below the first")
    found = _KEY.match(line)
    if said == "Cannot overwrite a value" and found:
        return Problem(_full_key(lines[: number - 1], found[1]), f"the key again{at}", "leave out one of them")
    if said.startswith("Illegal character '\\n'"):
        return Problem(_full_key(lines[: number - 1], found[1]) if found else "", f"a text without its end{at}",
                       "expected a quote at both ends of a text")  # fmt: skip
    if said.startswith("Expected '=' after a key") and found and ":" in found[0]:
        return Problem(
            "", f"{found[1]!r} with a colon{at}", 'expected TOML, such as [registries.models] and kind = "oss"'
        )
    return Problem("", f"a mistake in the TOML: {error}", "fix it first")


def _full_key(before: list[str], key: str) -> str:
    """The key with the name of the table that it is in."""
    table = next((match[1] for line in reversed(before) if (match := _TABLE.match(line))), "")
    return f"{table}.{key}" if table else key
