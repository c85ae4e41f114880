"""The pulse of a thread: what it waits for outside of this process, and since when nothing was heard of that.

A call into a mount whose server is gone cannot be interrupted, and a socket that takes a byte now and then never times
out. So who makes such calls says which (`calling`), adapters beat where bytes pass (`heard`, `beat`), and somebody else
looks (`Pulse.silence`). A thread that has been given up and comes back all the same is turned away at its next `beat`.
In a thread that nobody looks after all of this does nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from syncd.errors import Cancelled


@dataclass(frozen=True, slots=True)
class Silence:
    """A call of which nothing has been heard for so long; `patience_s` is what it may take beyond the usual."""

    what: str
    lasts_s: float
    patience_s: float


class Heartbeat:
    """Of one thread. `silence` is for others."""

    def __init__(self, is_over: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._is_over: Final = is_over
        self._clock: Final = clock
        self._call: tuple[str, float] | None = None
        self._heard_s = 0.0

    def begin(self, what: str, patience_s: float) -> None:
        """A call that may hang is about to be made."""
        self._heard_s = self._clock()  # first: who looks between the two must not see the call with an old time
        self._call = (what, patience_s)

    def end(self) -> None:
        """It has come back."""
        self._call = None

    def heard(self) -> None:
        """Something came back, or got through."""
        self._heard_s = self._clock()

    def beat(self) -> None:
        """As `heard`. Raises Cancelled: Nobody waits for this thread any more."""
        if self._is_over():
            raise Cancelled("told to stop in the middle of a call")
        self._heard_s = self._clock()

    def silence(self) -> Silence | None:
        """What it is waiting for, and how long it has heard nothing; None if it is not in a call."""
        call, heard_s = self._call, self._heard_s
        return None if call is None else Silence(call[0], self._clock() - heard_s, call[1])


class _ThreadState(threading.local):
    pulse: Heartbeat | None = None


_mine: Final = _ThreadState()


@contextmanager
def heartbeat_of_thread(pulse: Heartbeat) -> Iterator[None]:
    """While inside, this thread has this pulse."""
    before, _mine.pulse = _mine.pulse, pulse
    try:
        yield
    finally:
        _mine.pulse = before


@contextmanager
def calling(what: str, patience_s: float = 0.0) -> Iterator[None]:
    """While inside, this thread is in a call that may hang. `patience_s`: how much longer it may be silent."""
    pulse = _mine.pulse
    if pulse is None:
        yield
        return
    pulse.begin(what, patience_s)
    try:
        yield
    finally:
        pulse.end()


def shared(fn: Callable[[], None]) -> Callable[[], None]:
    """`fn` for another thread, which is heard as this one is."""
    pulse = _mine.pulse

    def run() -> None:
        _mine.pulse = pulse
        fn()

    return run


def mark_progress() -> None:
    """For adapters: something came back, or got through."""
    if _mine.pulse is not None:
        _mine.pulse.heard()


def note_activity() -> None:
    """For adapters, where stopping does no harm. Raises Cancelled: Nobody waits for this thread any more."""
    if _mine.pulse is not None:
        _mine.pulse.beat()
