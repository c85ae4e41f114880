"""Semantic version names (semver.org), and ranges of them."""

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
    """A version's precedence. Missing numbers are 0; a `v` in front and build metadata do not count."""

    numbers: tuple[int, int, int]
    pre: tuple[tuple[int, int, str], ...] = (_RELEASE,)

    @property
    def is_release(self) -> bool:
        """Whether it is not a pre-release."""
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
    """Versions within all bounds. Pre-releases only if a bound is one."""

    bounds: tuple[tuple[str, Semver], ...]

    def has(self, version: Semver) -> bool:
        """Whether `version` is in the range."""
        if not version.is_release and all(bound.is_release for _, bound in self.bounds):
            return False
        return all(_HOLDS[sign](version, bound) for sign, bound in self.bounds)


def semver(name: str) -> Semver | None:
    """Parse a version's name, such as `v1.2.0-rc.1`, `1.2` or `7`; None for other names."""
    match = _VERSION.fullmatch(name)
    if not match:
        return None
    numbers = (int(match[1]), int(match[2] or 0), int(match[3] or 0))
    if match[4] is None:
        return Semver(numbers)
    return Semver(numbers, tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in match[4].split(".")))


def parse_range(text: str) -> Range:
    """Parse bounds separated by commas, such as `>=1.2,<2`.

    Raises:
        Invalid: It is not a range.
    """
    bounds = []
    for part in text.split(","):
        match = _BOUND.fullmatch(part.strip())
        version = semver(match[2]) if match else None
        if match is None or version is None:
            raise Invalid(f"{text[:80]!r} is not a range of versions", hint='for example ">=1.2,<2"')
        bounds.append((match[1], version))
    return Range(tuple(bounds))
