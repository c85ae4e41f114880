"""Patterns of model names, in which `*` stands for any run of characters except '/'."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

_REMEMBERED_LENGTH_MAX: Final = 1024  # longer names are no names, and would fill memory


def selects(pattern: str, model: str) -> bool:
    """Whether `pattern` selects `model`. `*` selects `sdxl` but not `team/sdxl`; `team/*` or `*/*` does that."""
    remembered = len(model) <= _REMEMBERED_LENGTH_MAX
    return overlap(pattern, model) if remembered else overlap.__wrapped__(pattern, model)


@lru_cache(maxsize=4096)
def overlap(one: str, other: str) -> bool:
    """Whether a name exists that both patterns select.

    Visits all pairs of positions that one name can reach, so that any number of `*` stays quadratic.
    """
    seen = set()
    todo = [(0, 0)]
    while todo:
        place = todo.pop()
        if place in seen:
            continue
        seen.add(place)
        at_one, at_other = place
        if at_one == len(one) and at_other == len(other):
            return True
        todo.extend(_next(one, other, at_one, at_other))
    return False


def _next(one: str, other: str, at_one: int, at_other: int) -> list[tuple[int, int]]:
    first = one[at_one : at_one + 1]
    second = other[at_other : at_other + 1]
    steps = []
    if first == "*":
        steps.append((at_one + 1, at_other))
    if second == "*":
        steps.append((at_one, at_other + 1))
    if first and second:
        if first == "*" and second not in {"*", "/"}:
            steps.append((at_one, at_other + 1))
        elif second == "*" and first not in {"*", "/"}:
            steps.append((at_one + 1, at_other))
        elif first == second != "*":
            steps.append((at_one + 1, at_other + 1))
    return steps
