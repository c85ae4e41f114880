"""Version names that are numbers by the rules of semver.org, and ranges of them."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import total_ordering
from typing import Final

from syncd.errors import Invalid

_VERSION: Final = re.compile(
    r"v?(\d{1,18})(?:\.(\d{1,18}))?(?:\.(\d{1,18}))?(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]+)?"
)
_BOUND: Final = re.compile(r"(>=|<=|>|<|=)\s*(\S+)")
_RELEASE: Final = (2, 0, "")  # comes after every part of a pre-release


@total_ordering
@dataclass(frozen=True, slots=True)
class Semver:
    """A version's precedence. What is left out is 0, a `v` in front and what was built say nothing."""

    numbers: tuple[int, int, int]
    pre: tuple[tuple[int, int, str], ...] = (_RELEASE,)

    @property
    def is_release(self) -> bool:
        """Whether it is no pre-release."""
        return self.pre == (_RELEASE,)

    def __lt__(self, other: Semver) -> bool:
        return (self.numbers, self.pre) < (other.numbers, other.pre)


_HOLDS: Final[dict[str, Callable[[Semver, Semver], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}


@dataclass(frozen=True, slots=True)
class Range:
    """Versions that keep all of some bounds. Pre-releases only where a bound is one itself."""

    bounds: tuple[tuple[str, Semver], ...]

    def has(self, version: Semver) -> bool:
        """Whether `version` is in it."""
        if not version.is_release and all(bound.is_release for _, bound in self.bounds):
            return False
        return all(_HOLDS[sign](version, bound) for sign, bound in self.bounds)


def semver(name: str) -> Semver | None:
    """Read a version's name, such as `v1.2.0-rc.1`, `1.2` or `7`; None where it is another kind of name."""
    match = _VERSION.fullmatch(name)
    if not match:
        return None
    numbers = (int(match[1]), int(match[2] or 0), int(match[3] or 0))
    if match[4] is None:
        return Semver(numbers)
    return Semver(numbers, tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in match[4].split(".")))


def parse_range(text: str) -> Range:
    """Read bounds with commas between them, such as `>=1.2,<2`.

    Raises:
        Invalid: It is something else.
    """
    bounds = []
    for part in text.split(","):
        match = _BOUND.fullmatch(part.strip())
        version = semver(match[2]) if match else None
        if match is None or version is None:
            raise Invalid(f"{text[:80]!r} is no range of versions", hint='one such as ">=1.2,<2" is')
        bounds.append((match[1], version))
    return Range(tuple(bounds))
