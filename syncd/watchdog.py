"""Watchdog: heartbeats of threads that make calls which may hang.

A call into a mount whose server is gone cannot be interrupted, and a socket that takes a byte now and then never times
out. So a caller names such a call (`calling`), adapters beat where bytes pass (`mark_progress`, `note_activity`), and a
watcher reads how long a thread has been silent (`Heartbeat.silence`). A thread that was abandoned and comes back stops
at its next beat. In a thread without a heartbeat all of this does nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from syncd.errors import Cancelled

_WAIT_SLICE_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Silence:
    """A call without progress for `lasts_s`; `patience_s` is its extra allowance over the usual limit."""

    what: str
    lasts_s: float
    patience_s: float


class Heartbeat:
    """Heartbeat of one thread. `silence` is for the watcher."""

    def __init__(self, is_over: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._is_over: Final = is_over
        self._clock: Final = clock
        self._call: tuple[str, float] | None = None
        self._heard_s = 0.0

    @property
    def must_stop(self) -> bool:
        """Whether the thread was abandoned or cancelled."""
        return self._is_over()

    def begin(self, what: str, patience_s: float) -> None:
        """Record the start of a call that may hang."""
        self._heard_s = self._clock()  # first: a reader between the two must not see the call with an old time
        self._call = (what, patience_s)

    def end(self) -> None:
        """Record the end of the call."""
        self._call = None

    def heard(self) -> None:
        """Record progress."""
        self._heard_s = self._clock()

    def beat(self) -> None:
        """Record progress, as `heard`. Raises Cancelled: The thread was abandoned or cancelled."""
        if self._is_over():
            raise Cancelled("cancelled during a call")
        self._heard_s = self._clock()

    def silence(self) -> Silence | None:
        """The current call and the time since its last progress; None outside a call."""
        call, heard_s = self._call, self._heard_s
        return None if call is None else Silence(call[0], self._clock() - heard_s, call[1])


class _ThreadState(threading.local):
    heartbeat: Heartbeat | None = None


_mine: Final = _ThreadState()


@contextmanager
def heartbeat_of_thread(heartbeat: Heartbeat) -> Iterator[None]:
    """While inside, this thread has this heartbeat."""
    before, _mine.heartbeat = _mine.heartbeat, heartbeat
    try:
        yield
    finally:
        _mine.heartbeat = before


@contextmanager
def calling(what: str, patience_s: float = 0.0) -> Iterator[None]:
    """While inside, this thread is in a call that may hang. `patience_s`: how much longer it may be silent."""
    heartbeat = _mine.heartbeat
    if heartbeat is None:
        yield
        return
    heartbeat.begin(what, patience_s)
    try:
        yield
    finally:
        heartbeat.end()


@contextmanager
def repeating(action: Callable[[], None], interval_s: float, name: str) -> Iterator[None]:
    """While inside, a thread of this name runs `action` every `interval_s`, which raises nothing."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(interval_s):
            action()

    thread = threading.Thread(target=repeat, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def shared(fn: Callable[[], None]) -> Callable[[], None]:
    """`fn` for another thread, which is heard as this one is."""
    heartbeat = _mine.heartbeat

    def run() -> None:
        _mine.heartbeat = heartbeat
        fn()

    return run


def mark_progress() -> None:
    """Report progress, from an adapter."""
    if _mine.heartbeat is not None:
        _mine.heartbeat.heard()


def wait(seconds: float) -> bool:
    """Wait between two calls, counted as alive. Returns True, early, when the thread has to stop.

    A thread without a heartbeat cannot be stopped: it waits the whole time.
    """
    heartbeat = _mine.heartbeat
    until_s = time.monotonic() + seconds
    while (rest_s := until_s - time.monotonic()) > 0:
        if heartbeat is None:
            time.sleep(rest_s)
        elif heartbeat.must_stop:
            return True
        else:
            heartbeat.heard()
            time.sleep(min(rest_s, _WAIT_SLICE_S))
    return heartbeat is not None and heartbeat.must_stop


def note_activity() -> None:
    """Report progress, where stopping is harmless. Raises Cancelled: The thread was abandoned or cancelled."""
    if _mine.heartbeat is not None:
        _mine.heartbeat.beat()
