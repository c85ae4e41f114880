"""In-memory engine on threads. It keeps every promise of the interface except durability."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa

from syncd.engine.base import ExecutionStatus, MayServe, RunStep, always
from syncd.errors import Conflict

_Key = tuple[str, int]


@dataclass(order=True, slots=True)
class _Item:
    priority: int
    number: int  # first come, first served among equals
    key: _Key = field(compare=False)
    queue: str = field(compare=False)


@dataclass(slots=True)
class _Execution:
    status: ExecutionStatus
    ended_at: datetime | None = None


class MemoryEngine:
    """`engine.base.Engine` on threads.

    An attempt becomes known when its connection returns to the pool after the commit, so `submit` needs a
    connection that is returned then, as `State.write` does. If the commit itself fails, the attempt may run
    nevertheless: the record fences it out.
    """

    def __init__(self) -> None:
        self._changed: Final = threading.Condition()
        self._numbers: Final = itertools.count()
        self._uncommitted: Final[dict[int, list[_Item]]] = {}  # by the connection's id, while it is checked out
        self._committed: Final[set[int]] = set()
        self._known: Final[dict[_Key, _Execution]] = {}
        self._queues: Final[dict[str, list[_Item]]] = {}
        self._threads: list[threading.Thread] = []
        self._generation = 0  # threads of an earlier `serve` detect by it that they must end

    def submit(self, conn: sa.Connection, step_id: str, attempt: int, queue: str, priority: int) -> None:
        """Queue an attempt when the caller's transaction is committed."""
        self._watch(conn.engine)
        item = _Item(priority, next(self._numbers), (step_id, attempt), queue)
        with self._changed:
            self._uncommitted.setdefault(_identity(conn), []).append(item)

    def wake(self) -> None:
        """It sees each commit by itself, but not what `may` says since."""
        with self._changed:
            self._changed.notify_all()

    def cancel(self, step_id: str, attempt: int) -> None:
        """Remove an attempt from its queue. A running one is ended from now on, and continues to run."""
        with self._changed:
            known = self._known.get((step_id, attempt))
            if known is not None and known.status is not ExecutionStatus.ENDED:
                known.status, known.ended_at = ExecutionStatus.ENDED, datetime.now(UTC)

    def status(self, step_id: str, attempt: int) -> ExecutionStatus:
        """The status of an attempt."""
        with self._changed:
            known = self._known.get((step_id, attempt))
            return ExecutionStatus.MISSING if known is None else known.status

    def serve(self, slots: Mapping[str, int], run: RunStep, may: MayServe = always) -> None:
        """Start to run attempts, with one thread per slot.

        Raises:
            Conflict: It serves already.
        """
        with self._changed:
            if self._threads:
                raise Conflict("this engine serves already")
            names = [(queue, slot) for queue, count in slots.items() for slot in range(count)]
            self._threads = [
                threading.Thread(
                    target=self._work, args=(queue, run, self._generation, may), name=f"{queue}-{slot}", daemon=True
                )
                for queue, slot in names
            ]
            for thread in self._threads:
                thread.start()

    def stop(self, grace_s: float) -> None:
        """Start no more, wait up to `grace_s` for running ones."""
        with self._changed:
            self._generation += 1
            threads, self._threads = self._threads, []
            self._changed.notify_all()
        deadline = time.monotonic() + grace_s
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def forget(self, older_than: datetime) -> int:
        """Delete attempts that ended before `older_than` and return how many."""
        with self._changed:
            old = [key for key, known in self._known.items() if known.ended_at and known.ended_at < older_than]
            for key in old:
                del self._known[key]
            return len(old)

    def _work(self, queue: str, run: RunStep, generation: int, may: MayServe) -> None:
        while (key := self._take(queue, generation, may)) is not None:
            try:
                run(*key)
            finally:
                self._end(key)

    def _take(self, queue: str, generation: int, may: MayServe) -> _Key | None:
        with self._changed:
            while self._generation == generation:
                waiting = self._queues.get(queue, [])
                while waiting and may(queue):
                    key = heapq.heappop(waiting).key
                    known = self._known.get(key)
                    if known is not None and known.status is ExecutionStatus.WAITING:  # else it was cancelled
                        known.status = ExecutionStatus.RUNNING
                        return key
                self._changed.wait()
            return None

    def _end(self, key: _Key) -> None:
        with self._changed:
            self._known[key] = _Execution(ExecutionStatus.ENDED, datetime.now(UTC))

    def _watch(self, engine: sa.Engine) -> None:
        for name, listener in (("commit", self._commit), ("rollback", self._rollback), ("checkin", self._checkin)):
            if not sa.event.contains(engine, name, listener):
                sa.event.listen(engine, name, listener)

    def _commit(self, conn: sa.Connection) -> None:
        with self._changed:
            self._committed.add(_identity(conn))  # about to be: SQLAlchemy notifies before the commit, not after it

    def _rollback(self, conn: sa.Connection) -> None:
        with self._changed:
            self._uncommitted.pop(_identity(conn), None)

    def _checkin(self, connection: object, _record: object) -> None:
        with self._changed:
            items = self._uncommitted.pop(id(connection), [])
            if id(connection) not in self._committed:
                return
            self._committed.discard(id(connection))
            for item in items:
                if item.key not in self._known:
                    self._known[item.key] = _Execution(ExecutionStatus.WAITING)
                    heapq.heappush(self._queues.setdefault(item.queue, []), item)
            self._changed.notify_all()


def _identity(conn: sa.Connection) -> int:
    """The id of the driver's connection, which the pool's events have."""
    return id(conn.connection.dbapi_connection)
