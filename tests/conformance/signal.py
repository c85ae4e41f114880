"""Conformance of a signal. A subclass provides the signal, and methods that set its figures."""

from __future__ import annotations

from abc import abstractmethod

import pytest
from syncd.errors import Unavailable
from syncd.signals.base import Signal, Subject, Verdict

ABOUT = Subject("cn-hangzhou", "sd", "prod", "12", 299.5)
AT_MOST, SAMPLES_MIN = 0.05, 20.0


class SignalConformance:
    """A subclass binds `signal`, with a limit of 0.05 over at least 20 samples, and the abstract methods."""

    @abstractmethod
    def measured(self, value: float | None, samples: float | None) -> None:
        """Set the figure about `ABOUT`; None for no data."""

    @abstractmethod
    def silent(self) -> None:
        """Stop the server."""

    @pytest.mark.parametrize(("value", "verdict"), [(0.0, Verdict.GOOD), (0.05, Verdict.GOOD), (0.051, Verdict.BAD)])
    def test_a_figure_is_compared_with_its_bound(self, signal: Signal, value: float, verdict: Verdict) -> None:
        self.measured(value, 20.0)
        found = signal.measure(ABOUT)
        assert (found.verdict, found.value, found.samples) == (verdict, value, 20.0)
        assert f"got {value:g} over 20 samples, want at most 0.05" in found.said

    @pytest.mark.parametrize(
        ("value", "samples"),
        [
            (0.0, 19.0),
            (9.0, 19.0),
            (None, 100.0),
            (0.0, None),
            (None, None),
            (float("nan"), 100.0),
            (0.0, float("nan")),
        ],
    )
    def test_silence_is_neither_good_nor_bad(self, signal: Signal, value: float | None, samples: float | None) -> None:
        self.measured(value, samples)
        found = signal.measure(ABOUT)
        assert found.verdict is Verdict.NOT_ENOUGH
        assert found.said

    def test_a_figure_beyond_its_bound_is_bad(self, signal: Signal) -> None:
        self.measured(float("inf"), 100.0)
        assert signal.measure(ABOUT).verdict is Verdict.BAD

    def test_a_missing_response_has_no_outcome(self, signal: Signal) -> None:
        self.measured(0.0, 100.0)
        self.silent()
        with pytest.raises(Unavailable):
            signal.measure(ABOUT)
