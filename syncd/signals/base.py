"""Interface of a signal: one figure about a serving function version, and its verdict."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Verdict(StrEnum):
    """The evaluation of a figure. No data is never good."""

    GOOD = "good"
    BAD = "bad"
    NOT_ENOUGH = "not enough"  # no data, too little, or known to be incomplete: use another signal, or wait


@dataclass(frozen=True, slots=True)
class Subject:
    """What a figure is about. `seconds` is how long it has served: a query need not go further back."""

    region: str
    function: str
    alias: str
    function_version: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """A figure and its verdict. `said` is for people: got and want, or what is missing."""

    verdict: Verdict
    said: str
    value: float | None = None
    samples: float | None = None


@dataclass(frozen=True, slots=True)
class PrometheusSettings:
    """`query` must not exceed `at_most`. It counts only where `samples_query` gives at least `samples_min`."""

    url: str  # of the server, without `/api/v1/query`
    query: str
    at_most: float
    samples_query: str
    samples_min: float


class Signal(Protocol):
    """One figure. Safe to call from several threads; read-only."""

    def measure(self, subject: Subject) -> Evidence:
        """The current figure and its verdict.

        Raises:
            Unavailable: The server could not be queried: nothing is known, and nothing is wrong.
            Refused: Access is denied.
            Invalid: The query cannot be answered: it has an error, or gives more than one figure.
        """
        ...
