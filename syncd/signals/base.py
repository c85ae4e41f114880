"""The seam to a signal: one figure about a function version that serves, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Verdict(StrEnum):
    """What a figure says. Silence is never good."""

    GOOD = "good"
    BAD = "bad"
    NOT_ENOUGH = "not enough"  # no data, too little, or known to be incomplete: decide by something else, or wait


@dataclass(frozen=True, slots=True)
class Subject:
    """What a figure is wanted about. `seconds` is how long it has served: a query need not look further back."""

    region: str
    function: str
    alias: str
    function_version: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """A figure and its verdict. `said` is for a person: got and want, or what is missing."""

    verdict: Verdict
    said: str
    value: float | None = None
    samples: float | None = None


@dataclass(frozen=True, slots=True)
class PrometheusSettings:
    """`query` must not exceed `at_most`. It counts only where `samples_query` gives at least `samples_min`."""

    url: str  # where `/api/v1/query` is, without that
    query: str
    at_most: float
    samples_query: str
    samples_min: float


class Signal(Protocol):
    """One figure. Safe to ask from several threads; it only looks."""

    def look(self, subject: Subject) -> Evidence:
        """What is known now.

        Raises:
            Unavailable: It could not be asked: nothing is known, and nothing is wrong.
            Refused: It will not let us.
            Invalid: What is asked cannot be answered: a query with a mistake, or with more than one figure.
        """
        ...
