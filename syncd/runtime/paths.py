"""Paths into JSON: `a.b[0]`, keys after dots and list indexes in brackets, with or without a leading `$.`.

There are no wildcards, no filters and no negative indexes. A key with a dot or a bracket cannot
be addressed; its parent can, and is compared whole.
"""

from __future__ import annotations

import re
from typing import Final

from syncd.errors import Invalid

Step = str | int

_STEP: Final = re.compile(r"\.?([^.\[\]]+)|\[(0|[1-9][0-9]{0,8})\]")


def parse(path: str) -> tuple[Step, ...]:
    """The keys and indexes of a path, in order; none for `$`, the whole document.

    Raises:
        Invalid: It is not a path.
    """
    rest = path.removeprefix("$") if path == "$" or path.startswith(("$.", "$[")) else f".{path}"
    if rest.startswith(".["):
        rest = rest[1:]
    steps: list[Step] = []
    at = 0
    while at < len(rest):
        found = _STEP.match(rest, at)
        if found is None or (found[1] and rest[at] != "."):
            raise Invalid(f"{path!r} is not a path into JSON", hint='such as "images[0].seed": keys and list indexes')
        steps.append(found[1] or int(found[2]))
        at = found.end()
    if not steps and path != "$":
        raise Invalid("an empty path addresses nothing in JSON", hint='"$" is the whole document')
    return tuple(steps)


def find(document: object, path: str) -> object:
    """The value at the path.

    Raises:
        Invalid: It is not a path.
        LookupError: The document has no such value; the message says where the path ends.
    """
    at, gone = document, "$"
    for step in parse(path):
        match at, step:
            case list(), int() if step < len(at):
                at, gone = at[step], f"{gone}[{step}]"
            case dict(), str() if step in at:
                at, gone = at[step], f"{gone}.{step}"
            case list(), int():
                raise LookupError(f"{gone} is a list of {len(at)}")
            case dict(), str():
                raise LookupError(f"{gone} has no {step!r}")
            case _:
                raise LookupError(f"{gone} is {_kind(at)}")
    return at


def _kind(value: object) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
