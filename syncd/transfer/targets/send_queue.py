"""Send queue of one target: parts that wait for a thread, parts in flight, and the memory they hold."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition

from syncd.transfer.flow.buffers import PartBuffer
from syncd.transfer.workers.worker_pool import Work


@dataclass(frozen=True, slots=True)
class QueuedPart:
    """What waits for a thread: a part, or some small files. Exactly one of the two is called.

    `width` is how many requests it has under way at once.
    """

    buffer: PartBuffer
    send: Callable[[], None]
    skip: Callable[[], None]
    width: int = 1


class SendQueue:
    """Safe from several threads; `changed` is notified of every change that a thread may wait for."""

    def __init__(
        self, changed: Condition, share_bytes: int, allowed: Callable[[], int], submit: Callable[[Work], None]
    ) -> None:
        self._changed = changed
        self._share_bytes = share_bytes
        self._allowed = allowed
        self._submit = submit
        self._waiting: deque[QueuedPart] = deque()
        self._in_flight = self._spare_bytes = 0
        self._held_bytes = self._done_bytes = 0

    @property
    def held_bytes(self) -> int:
        """The memory that this target holds, in bytes."""
        return self._held_bytes

    @property
    def share(self) -> float:
        """How much is done of what was given to this target, dropped ones aside."""
        return self._done_bytes / max(1, self._done_bytes + self._held_bytes)

    @property
    def is_short(self) -> bool:
        """Whether parts wait for others to be through."""
        return bool(self._waiting)

    def put(self, queued: QueuedPart, is_wanted: Callable[[], bool]) -> None:
        """Send a part as soon as a thread and a share of the memory are free; skipped where it is not wanted."""
        with self._changed:
            is_carried = is_wanted()
            if is_carried:
                self._held_bytes += queued.buffer.capacity_bytes
                self._waiting.append(queued)
        if is_carried:
            self._pump()
        else:
            queued.skip()

    def done(self, buffer: PartBuffer, width: int = 1) -> None:
        """Release the buffer of a part that was sent."""
        buffer.release()
        with self._changed:
            self._in_flight -= width
            self._held_bytes -= buffer.capacity_bytes
            self._done_bytes += buffer.capacity_bytes
            self._spare_bytes -= 0 if buffer.is_common else buffer.capacity_bytes
            self._changed.notify_all()
        self._pump()

    def drop(self) -> None:
        """Skip what has no thread yet."""
        with self._changed:
            dropped = list(self._waiting)
            self._waiting.clear()
            self._held_bytes -= sum(queued.buffer.capacity_bytes for queued in dropped)
            self._changed.notify_all()
        for queued in dropped:
            queued.skip()

    def _pump(self) -> None:
        with self._changed:
            while self._waiting and self._may_go(self._waiting[0]):
                queued = self._waiting.popleft()
                self._in_flight += queued.width
                self._spare_bytes += 0 if queued.buffer.is_common else queued.buffer.capacity_bytes
                self._submit(queued.send)

    def _may_go(self, queued: QueuedPart) -> bool:
        buffer = queued.buffer
        if self._in_flight and self._in_flight + queued.width > self._allowed():
            return False
        return (
            buffer.is_common or not self._spare_bytes or self._spare_bytes + buffer.capacity_bytes <= self._share_bytes
        )
