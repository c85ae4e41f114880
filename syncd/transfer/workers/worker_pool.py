"""Threads of a copy: what stops them, and how those are abandoned whose call into a hung mount never ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from queue import SimpleQueue
from threading import Condition, Event, Lock, Thread
from types import TracebackType
from typing import Final

from syncd.errors import Unavailable
from syncd.watchdog import Heartbeat, heartbeat_of_thread

Work = Callable[[], None]
_POLL_S: Final = 0.1


class CancelScope:
    """Stops threads: one for a copy, and a child of it for each target. Safe from several threads.

    A copy is stopped by a request, a failed source or a bug, a target by its own failure or with its copy. `grace_s` is
    how long cancelled threads are waited for. Every wait of a copy that must end with it is made here.
    """

    def __init__(self, stop: Event, grace_s: float, parent: CancelScope | None = None) -> None:
        self._stop = stop
        self._grace_s = grace_s
        self._parent = parent
        self._lock = Lock()
        self._since_s: float | None = None
        self.reason: BaseException | None = None  # its own: that of a copy is not repeated in its targets

    def child(self) -> CancelScope:
        """A scope that ends with this one, or before it."""
        return CancelScope(self._stop, self._grace_s, self)

    def is_set(self) -> bool:
        return self.reason is not None or self.is_set_above()

    def is_set_above(self) -> bool:
        """Whether it was not this scope alone that was cancelled."""
        return self._stop.is_set() or (self._parent is not None and self._parent.is_set())

    def is_grace_over(self) -> bool:
        """Whether threads that have not stopped by now are abandoned. The time runs from the end or its first check."""
        if not self.is_set():
            return False
        with self._lock:
            self._since_s = self._since_s or time.monotonic()
            return time.monotonic() - self._since_s >= self._grace_s

    def cancel(self, reason: BaseException) -> bool:
        """Stop everything in it. Returns whether this reason is the first: it is the one that is reported."""
        with self._lock:
            if self.reason is not None:
                return False
            self.reason = reason
            self._since_s = self._since_s or time.monotonic()
            return True

    def bugs(self) -> AbstractContextManager[None]:
        """Context manager for work that reports its own failures: any exception in it is a bug, and ends the copy."""
        return self._parent.bugs() if self._parent is not None else _Bugs(self)

    def wait(self, seconds: float, is_enough: Callable[[], bool] = lambda: False) -> bool:
        """Wait, and return whether to stop; `is_enough` ends the wait as well."""
        until = time.monotonic() + seconds
        while not self.is_set() and not is_enough():
            rest_s = until - time.monotonic()
            if rest_s <= 0:
                return False
            self._stop.wait(min(rest_s, _POLL_S))
        return True

    def wait_on(self, changed: Condition, left_s: Callable[[], float]) -> bool:
        """Wait, with `changed` held, until `left_s` returns 0 or less. Returns whether to stop instead."""
        while (seconds := left_s()) > 0:
            if self.is_set():
                return True
            changed.wait(min(seconds, _POLL_S))
        return False


class _Bugs(AbstractContextManager[None]):
    def __init__(self, scope: CancelScope) -> None:
        self._scope = scope

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool:
        if error is not None:
            self._scope.cancel(error)
        return True


class Countdown:
    """A count that begins with one, for the caller that begins the rest. Safe from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._count = 1

    def more(self, count: int = 1) -> None:
        """So many more must end. To be called before any of them can."""
        with self._lock:
            self._count += count

    def ended(self) -> bool:
        """One has ended. Whether it was the last."""
        with self._lock:
            self._count -= 1
            return not self._count


class LeakedThreads:
    """Abandoned threads that are still alive, by the place they call. One for a process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._threads: dict[str, list[tuple[Thread, str, float]]] = {}

    def add(self, where: str, thread: Thread, what: str) -> None:
        with self._lock:
            self._threads.setdefault(where, []).append((thread, what, time.monotonic()))

    def refuse(self, where: str) -> None:
        """Raises Unavailable: An earlier call to this place still hangs; another thread would hang as well."""
        with self._lock:
            left = [one for one in self._threads.get(where, ()) if one[0].is_alive()]
            self._threads[where] = left
        if left:
            _, what, since_s = left[0]
            raise Unavailable(
                f"{where}: {len(left)} calls hang, the oldest for {time.monotonic() - since_s:.0f} s: {what}",
                hint="does its server answer? a call in the kernel ends when the mount works again or is forced off",
            )


class WorkerPool:
    """At most `most` threads for one purpose, started on demand. `given_up` is called for each thread that hangs."""

    def __init__(
        self,
        name: str,
        most: int,
        scope: CancelScope,
        given_up: Callable[[Unavailable], object],
    ) -> None:
        self.name: Final = name
        self._most = most
        self._scope = scope
        self._given_up = given_up
        self._works: SimpleQueue[Work | None] = SimpleQueue()
        self._lock = Lock()
        self._heartbeats: dict[Thread, Heartbeat] = {}
        self._lost: set[Thread] = set()
        self._idle = self._waiting = 0
        self._is_closed_ = False

    def submit(self, work: Work) -> None:
        """Run it in one of the threads. Any exception from it is a bug, and ends the copy."""
        with self._lock:
            if self._is_closed_:
                return
            self._waiting += 1
            if self._waiting > self._idle and len(self._heartbeats) < self._most:
                self._start()
            self._works.put(work)

    def check(self, stall_s: float, leaked_threads: LeakedThreads) -> None:
        """Abandon threads that have been silent for too long."""
        with self._lock:
            heartbeats = [
                (thread, heartbeat) for thread, heartbeat in self._heartbeats.items() if thread not in self._lost
            ]
        for thread, heartbeat in heartbeats:
            silence = heartbeat.silence()
            if silence is None or silence.lasts_s <= stall_s + silence.patience_s:
                continue
            self._lost.add(thread)
            leaked_threads.add(self.name, thread, silence.what)
            self._given_up(
                Unavailable(
                    f"no byte for {silence.lasts_s:.0f} s: {silence.what}", hint="does the other side answer at all?"
                )
            )

    def close(self, is_enough: Callable[[], bool]) -> None:
        """Wait until all submitted work is done, or until `is_enough`: threads that still work are then abandoned."""
        with self._lock:
            self._is_closed_ = True
            threads = list(self._heartbeats)
        for _ in threads:
            self._works.put(None)
        for thread in threads:
            while thread.is_alive() and not is_enough():
                thread.join(_POLL_S)

    def _start(self) -> None:
        heartbeat = Heartbeat(self._scope.is_set)
        # A daemon thread: an abandoned one must not keep the process from ending.
        thread = Thread(target=self._serve, args=(heartbeat,), name=f"{self.name}-{len(self._heartbeats)}", daemon=True)
        self._heartbeats[thread] = heartbeat
        thread.start()

    def _serve(self, heartbeat: Heartbeat) -> None:
        with heartbeat_of_thread(heartbeat):
            while (work := self._next()) is not None:
                with self._scope.bugs():
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
    """Watchdog of one copy, a context manager: checks all its worker threads, in a thread of its own."""

    def __init__(self, scope: CancelScope, limit_s: float, leaked_threads: LeakedThreads) -> None:
        self.scope: Final = scope
        self.leaked_threads: Final = leaked_threads
        self._limit_s = limit_s
        self._workers: list[WorkerPool] = []
        self._is_over = Event()
        self._thread = Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> CallWatch:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_over.set()
        self._thread.join()

    def workers(
        self, name: str, most: int, scope: CancelScope, given_up: Callable[[Unavailable], object]
    ) -> WorkerPool:
        """A pool of threads that is watched."""
        made = WorkerPool(name, most, scope, given_up)
        self._workers.append(made)
        return made

    def _run(self) -> None:
        while not self._is_over.wait(min(1.0, self._limit_s / 8)):
            with self.scope.bugs():
                for workers in list(self._workers):
                    workers.check(self._limit_s, self.leaked_threads)
