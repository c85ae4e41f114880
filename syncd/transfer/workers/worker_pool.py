"""Worker threads that can be abandoned: a call into a hung mount never ends, but the copy that waits for it must."""

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
_POLL_S: Final = 0.1


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
        is_over: Callable[[], bool],
        given_up: Callable[[Unavailable], None],
    ) -> None:
        self.name: Final = name
        self._most = most
        self._scope = scope
        self._is_over = is_over
        self._given_up = given_up
        self._works: SimpleQueue[Work | None] = SimpleQueue()
        self._lock = Lock()
        self._heartbeats: dict[Thread, Heartbeat] = {}
        self._lost: set[Thread] = set()
        self._idle = self._waiting = 0
        self._is_closed_ = False

    def submit(self, work: Work) -> None:
        """Run it in one of the threads. Any exception from it is a bug, and cancels the scope."""
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
        heartbeat = Heartbeat(self._is_over)
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
        self, name: str, most: int, is_over: Callable[[], bool], given_up: Callable[[Unavailable], None]
    ) -> WorkerPool:
        """A pool of threads that is watched."""
        made = WorkerPool(name, most, self.scope, is_over, given_up)
        self._workers.append(made)
        return made

    def _run(self) -> None:
        while not self._is_over.wait(min(1.0, self._limit_s / 8)):
            with self.scope.bugs():
                for workers in list(self._workers):
                    workers.check(self._limit_s, self.leaked_threads)
