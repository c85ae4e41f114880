"""Threads that can be left behind: a call into a hung mount never ends, and what waits for it must."""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Final

from syncd.errors import Unavailable
from syncd.transfer.workers.cancel_scope import CancelScope
from syncd.watchdog import Heartbeat, heartbeat_of_thread

Work = Callable[[], None]
_LOOK_S: Final = 0.1


class LeakedThreads:
    """Threads that were given up and have not come back, by what they were sent to. One for a process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._threads: dict[str, list[tuple[Thread, str, float]]] = {}

    def add(self, where: str, thread: Thread, what: str) -> None:
        with self._lock:
            self._threads.setdefault(where, []).append((thread, what, time.monotonic()))

    def refuse(self, where: str) -> None:
        """Raises Unavailable: A call to this place hangs from an earlier time. Another thread would hang as well."""
        with self._lock:
            left = [one for one in self._threads.get(where, ()) if one[0].is_alive()]
            self._threads[where] = left
        if left:
            _, what, since_s = left[0]
            raise Unavailable(
                f"{where}: {len(left)} calls hang, the first for {time.monotonic() - since_s:.0f} s: {what}",
                hint="does its server answer? a call in the kernel ends when the mount is mended or forced off",
            )


class WorkerPool:
    """At most `most` threads for one purpose, started as they are needed. `given_up` is told of one that hangs."""

    def __init__(
        self,
        name: str,
        most: int,
        halt: CancelScope,
        is_over: Callable[[], bool],
        given_up: Callable[[Unavailable], None],
    ) -> None:
        self.name: Final = name
        self._most = most
        self._halt = halt
        self._is_over = is_over
        self._given_up = given_up
        self._works: SimpleQueue[Work | None] = SimpleQueue()
        self._lock = Lock()
        self._pulses: dict[Thread, Heartbeat] = {}
        self._lost: set[Thread] = set()
        self._idle = self._waiting = 0
        self._is_dismissed = False

    def submit(self, work: Work) -> None:
        """Have it done by one of them. What it raises is a mistake of ours, and halts everything."""
        with self._lock:
            if self._is_dismissed:
                return
            self._waiting += 1
            if self._waiting > self._idle and len(self._pulses) < self._most:
                self._start()
            self._works.put(work)

    def look(self, stall_s: float, adrift: LeakedThreads) -> None:
        """Give up who has been silent for too long."""
        with self._lock:
            pulses = [(thread, pulse) for thread, pulse in self._pulses.items() if thread not in self._lost]
        for thread, pulse in pulses:
            silence = pulse.silence()
            if silence is None or silence.lasts_s <= stall_s + silence.patience_s:
                continue
            self._lost.add(thread)
            adrift.add(self.name, thread, silence.what)
            self._given_up(
                Unavailable(
                    f"no byte for {silence.lasts_s:.0f} s: {silence.what}", hint="does the other side answer at all?"
                )
            )

    def dismiss(self, is_enough: Callable[[], bool]) -> None:
        """Wait until all is done that was submitted, or `is_enough` says to leave behind who is still at it."""
        with self._lock:
            self._is_dismissed = True
            threads = list(self._pulses)
        for _ in threads:
            self._works.put(None)
        for thread in threads:
            while thread.is_alive() and not is_enough():
                thread.join(_LOOK_S)

    def _start(self) -> None:
        pulse = Heartbeat(self._is_over)
        # A daemon: whoever is left behind must not keep the process from ending.
        thread = Thread(target=self._serve, args=(pulse,), name=f"{self.name}-{len(self._pulses)}", daemon=True)
        self._pulses[thread] = pulse
        thread.start()

    def _serve(self, pulse: Heartbeat) -> None:
        with heartbeat_of_thread(pulse):
            while (work := self._next()) is not None:
                with self._halt.mistakes():
                    work()
                del work  # and with it the buffers it knows, while there is nothing to do

    def _next(self) -> Work | None:
        with self._lock:
            self._idle += 1
        work = self._works.get()
        with self._lock:
            self._idle -= 1
            self._waiting -= work is not None
        return work


class CallWatch:
    """A context manager around one copy: looks after all its hands, in a thread of its own."""

    def __init__(self, halt: CancelScope, limit_s: float, adrift: LeakedThreads) -> None:
        self.halt: Final = halt
        self.adrift: Final = adrift
        self._limit_s = limit_s
        self._hands: list[WorkerPool] = []
        self._is_over = Event()
        self._thread = Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> CallWatch:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_over.set()
        self._thread.join()

    def hands(
        self, name: str, most: int, is_over: Callable[[], bool], given_up: Callable[[Unavailable], None]
    ) -> WorkerPool:
        """Threads that are looked after."""
        made = WorkerPool(name, most, self.halt, is_over, given_up)
        self._hands.append(made)
        return made

    def _run(self) -> None:
        while not self._is_over.wait(min(1.0, self._limit_s / 8)):
            with self.halt.mistakes():
                for hands in list(self._hands):
                    hands.look(self._limit_s, self.adrift)
