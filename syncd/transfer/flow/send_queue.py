"""Flow control of one target: what waits to be sent, how much memory it holds, and how many calls are made at once."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition, Lock
from typing import Final

from syncd.errors import Cancelled, Unavailable
from syncd.retry import Pace
from syncd.transfer.flow.buffers import PartBuffer
from syncd.transfer.workers.worker_pool import CancelScope, Work

FIRST: Final = 4  # enough to fill a fast line, and few enough for a store that is slow
_ROUND_PARTS_MIN: Final = 8  # fewer say nothing about a rate
_GAIN: Final = 0.25  # of what it would bring if each did as much as those before
_HOLD_ROUNDS: Final = 8  # after a step that brought nothing, or was refused
_REQUEST_BYTES: Final = 256 << 10  # what a request costs beside its bytes, so that small files count as well
_FAR_BEHIND: Final = 0.25  # of what it was given: no hiccup, another speed
_HASTE: Final = 0.1  # of the patience, where the target never kept pace
_NO_ROOM_S: Final = float("inf")  # until a call has ended


class AdaptiveConcurrency:
    """Adaptive concurrency: rises while throughput rises, halves when the target refuses calls.

    Pure: the time is an argument. Needs a lock where several threads use it.
    """

    def __init__(self, most: int) -> None:
        self.allowed = min(FIRST, most)
        self._most: Final = most
        self._era = 0  # one for each time it was slowed down
        self._before: tuple[int, float] | None = None  # what was allowed before the last step up, and brought then
        self._is_quick = True  # until something was refused or brought nothing it doubles
        self._hold = 0
        self._begin: float | None = None
        self._done = self._bytes = 0

    @property
    def era(self) -> int:
        """To be remembered when a call begins, and given to `refused`."""
        return self._era

    def sent(self, size_bytes: int, now_s: float, *, is_short: bool) -> None:
        """A part got through. `is_short`: others wait only because no more are allowed."""
        if self._begin is None or not is_short:
            self._restart(now_s)
            return
        self._done += 1
        self._bytes += size_bytes + _REQUEST_BYTES
        if self._done >= max(_ROUND_PARTS_MIN, 2 * self.allowed) and now_s > self._begin:
            rate = self._bytes / (now_s - self._begin)
            self._restart(now_s)
            self._evaluate(rate)

    def refused(self, era: int) -> None:
        """The target said that it is too much, or did not answer, to a call that began in this era.

        What was on its way when it was slowed down says nothing new.
        """
        if era != self._era:
            return
        self._era += 1
        self.allowed = max(1, self.allowed // 2)
        self._hold, self._before, self._is_quick, self._begin = _HOLD_ROUNDS, None, False, None

    def _restart(self, now_s: float) -> None:
        self._begin, self._done, self._bytes = now_s, 0, 0

    def _evaluate(self, rate: float) -> None:
        if self._before is not None:
            allowed, was = self._before
            if rate < was * (1 + _GAIN * (self.allowed - allowed) / allowed):
                self.allowed, self._hold, self._before, self._is_quick = allowed, _HOLD_ROUNDS, None, False
                return
        if self._hold:
            self._hold -= 1
        elif self.allowed < self._most:
            self._before = (self.allowed, rate)
            self.allowed = min(self._most, 2 * self.allowed if self._is_quick else self.allowed + 1)
        else:
            self._before = None


class StallDetector:
    """For one target. Needs a lock where several threads use it.

    A target that costs the others less than half of their time is never stalled. One that has kept pace until now is
    given more time than one that never did.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._level_s = 0.0
        self._seen_s = float("-inf")

    def note(self, waited_s: float, now_s: float, share: float = 1.0) -> bool:
        """Note that the others have waited for it until now. Returns whether it is stalled.

        `share` is what it has done by now of what it was given, of which the others have done all. Two threads
        that waited through the same second count it once.
        """
        passed_s = now_s - self._seen_s
        self._seen_s = now_s
        waited_s = min(waited_s, passed_s)
        self._level_s = max(0.0, self._level_s + waited_s - (passed_s - waited_s))
        return self._level_s > self._patience_s * (_HASTE if share < _FAR_BEHIND else 1.0)


@dataclass(frozen=True, slots=True)
class QueuedPart:
    """What waits for a thread: a part, or some small files. Exactly one of the two functions is called.

    `width` is how many requests it has under way at once. `is_late`: it is for a target that is detached already.
    """

    buffer: PartBuffer
    send: Callable[[], None]
    skip: Callable[[], None]
    width: int = 1
    is_late: bool = False


@dataclass(frozen=True, slots=True)
class FlowLimits:
    """Bounds of one target: calls at once, and the memory it may hold of the buffers that are not common."""

    parts_in_flight: int
    share_bytes: int
    patience_s: float  # of the others that wait for it


class SendQueue:
    """For one copy to one target, whose `pace` all its callers share. Safe from several threads.

    `changed` is notified of every change that a thread may wait for. A target that the others would wait for is
    detached: its queue is dropped, and only late parts are taken from then on.
    """

    def __init__(
        self,
        limits: FlowLimits,
        scope: CancelScope,
        pace: Pace,
        submit: Callable[[Work], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        lock = Lock()
        self.changed: Final = Condition(lock)
        self._freed: Final = Condition(lock)  # a call has ended
        self.is_detached = False
        self._limits = limits
        self._scope = scope
        self._pace = pace
        self._submit = submit
        self._clock = clock
        self._concurrency = AdaptiveConcurrency(limits.parts_in_flight)
        self._stalls = StallDetector(limits.patience_s)
        self._waiting: deque[QueuedPart] = deque()
        self._in_flight = self._spare_bytes = 0
        self._held_bytes = self._done_bytes = 0
        self._calls = self._callers_waiting = 0

    @property
    def allowed(self) -> int:
        """How many calls may be made at once now."""
        return self._concurrency.allowed

    @property
    def held_bytes(self) -> int:
        """The memory that this target holds, in bytes."""
        return self._held_bytes

    def put(self, queued: QueuedPart) -> None:
        """Send a part as soon as a thread and a share of the memory are free; skipped where it is not wanted."""
        with self.changed:
            is_wanted = not self._scope.is_set() and (queued.is_late or not self.is_detached)
            if is_wanted:
                self._held_bytes += queued.buffer.capacity_bytes
                self._waiting.append(queued)
                self._pump()
        if not is_wanted:
            queued.skip()

    def done(self, buffer: PartBuffer, width: int = 1) -> None:
        """Release the buffer of a part that was sent."""
        buffer.release()
        with self.changed:
            self._in_flight -= width
            self._held_bytes -= buffer.capacity_bytes
            self._done_bytes += buffer.capacity_bytes
            self._spare_bytes -= 0 if buffer.is_common else buffer.capacity_bytes
            self.changed.notify_all()
            self._pump()

    def drop(self) -> None:
        """Skip what has no thread yet."""
        with self.changed:
            dropped = list(self._waiting)
            self._waiting.clear()
            self._held_bytes -= sum(queued.buffer.capacity_bytes for queued in dropped)
            self.changed.notify_all()
        for queued in dropped:
            queued.skip()

    def note_stall(self, waited_s: float, now_s: float) -> bool:
        """Note that the others have waited for this one. Returns whether this call detached it for that."""
        with self.changed:
            share = self._done_bytes / max(1, self._done_bytes + self._held_bytes)  # dropped ones aside
            if not self._stalls.note(waited_s, now_s, share) or self.is_detached:
                return False
            self.is_detached = True
        self.drop()
        return True

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Wait until one more call may be made, and make it inside. A call that is Unavailable slows all of them down.

        Raises:
            Cancelled: The target was given up before the call could be made.
        """
        era = self._enter()
        try:
            with self._pace.counted():
                yield
        except Unavailable:
            with self.changed:
                self._concurrency.refused(era)
            raise
        finally:
            with self.changed:
                self._calls -= 1
                if self._callers_waiting:
                    self._freed.notify()

    def sent(self, size_bytes: int) -> None:
        """So many bytes got through."""
        with self.changed:
            self._concurrency.sent(size_bytes, self._clock(), is_short=bool(self._waiting))

    def _enter(self) -> int:
        with self.changed:
            self._callers_waiting += 1
            try:
                if self._scope.wait_on(self._freed, self._left_s):
                    raise Cancelled("stopped while waiting to call the target")
            finally:
                self._callers_waiting -= 1
            self._calls += 1
            return self._concurrency.era

    def _left_s(self) -> float:
        return _NO_ROOM_S if self._calls >= self._concurrency.allowed else self._pace.quiet_s()

    def _pump(self) -> None:
        while self._waiting and self._may_go(self._waiting[0]):
            queued = self._waiting.popleft()
            self._in_flight += queued.width
            self._spare_bytes += 0 if queued.buffer.is_common else queued.buffer.capacity_bytes
            self._submit(queued.send)

    def _may_go(self, queued: QueuedPart) -> bool:
        buffer, spare_bytes = queued.buffer, self._spare_bytes
        if self._in_flight and self._in_flight + queued.width > self._concurrency.allowed:
            return False
        return buffer.is_common or not spare_bytes or spare_bytes + buffer.capacity_bytes <= self._limits.share_bytes
