"""How much of an exhaustive walk is run: a short form by `make test`, all of it by `make long`."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from typing import Final, TypeVar

T = TypeVar("T")

LONG: Final = os.environ.get("SYNCD_TESTS") == "long"
TIMES: Final = 10 if LONG else 1  # as many examples of what is drawn by chance


def one_of_each(cases: Iterable[T], *kinds: Callable[[T], Hashable]) -> list[T]:
    """Cases in which each value of each kind is met, and no more than that takes; all of them where LONG is set.

    Of the cases of one value that comes number n the n-th is taken, so that the choice is spread.
    """
    every = list(cases)
    if LONG:
        return every
    found: list[T] = []
    for kind in kinds:
        met = {kind(case) for case in found}
        groups: defaultdict[Hashable, list[T]] = defaultdict(list)
        for case in every:
            groups[kind(case)].append(case)
        found += [group[n % len(group)] for n, (value, group) in enumerate(groups.items()) if value not in met]
    return found
