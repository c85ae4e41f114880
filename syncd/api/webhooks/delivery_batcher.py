"""Deliveries into the record: many in one transaction, each answered only after it is committed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from syncd.api.responses import ProblemResponse
from syncd.errors import SyncdError
from syncd.state.access import deliveries
from syncd.state.records import Delivery
from syncd.state.state import State

QUEUE_MAX: Final = 1000  # requests; five seconds of 200 a second, with a database that stands still
BATCH_MAX: Final = 200

Ask = Callable[[Callable[[], Any]], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class _Pending:
    deliveries: tuple[Delivery, ...]
    done: asyncio.Future[int]


class DeliveryBatcher:
    """Takes deliveries of many requests at once. A commit waits for a disk, so one serves all that came meanwhile."""

    def __init__(self, state: State, ask: Ask) -> None:
        self._state = state
        self._ask = ask
        self._queue: asyncio.Queue[_Pending] = asyncio.Queue(QUEUE_MAX)
        self._at_work = True

    async def take(self, told: Sequence[Delivery]) -> int:
        """Record what was told; how much of it is new. It is committed when this returns.

        Raises:
            Problem: Too many wait already (429).
            Unavailable: The record is out of reach.
        """
        if not told:
            return 0
        if not self._at_work:
            raise _gone()
        waits = _Pending(tuple(told), asyncio.get_running_loop().create_future())
        try:
            self._queue.put_nowait(waits)
        except asyncio.QueueFull as error:
            hint = "send it again; nothing of it was taken"
            retry = {"Retry-After": "2"}
            raise ProblemResponse(429, "busy", "too many deliveries at once", hint=hint, headers=retry) from error
        return await waits.done

    async def work(self) -> None:
        """Record until cancelled; what waits then, and what comes later, is answered as not taken."""
        batch: list[_Pending] = []
        try:
            while True:
                batch = [await self._queue.get()]
                while len(batch) < BATCH_MAX and not self._queue.empty():
                    batch.append(self._queue.get_nowait())
                await self._record(batch)
                batch = []
        finally:
            self._at_work = False
            while not self._queue.empty():
                batch.append(self._queue.get_nowait())
            for told in batch:
                if not told.done.done():
                    told.done.set_exception(_gone())

    async def _record(self, batch: list[_Pending]) -> None:
        try:
            counts = await self._ask(lambda: self._write(batch))
        except SyncdError as error:
            for told in batch:
                if not told.done.done():  # who asked has gone
                    told.done.set_exception(error)
            return
        for told, count in zip(batch, counts, strict=True):
            if not told.done.done():
                told.done.set_result(count)

    def _write(self, batch: list[_Pending]) -> list[int]:
        with self._state.write() as conn:
            now = self._state.now(conn)
            return [deliveries.record(conn, told.deliveries, now) for told in batch]


def _gone() -> ProblemResponse:
    return ProblemResponse(503, "unavailable", "the process is stopping", headers={"Retry-After": "5"})
