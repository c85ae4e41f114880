"""Batched recording of deliveries: many in one transaction, each answered only after the commit."""

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

QUEUE_MAX: Final = 1000  # requests; five seconds of 200 a second while the database is blocked
BATCH_MAX: Final = 200

Ask = Callable[[Callable[[], Any]], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class _Pending:
    deliveries: tuple[Delivery, ...]
    done: asyncio.Future[int]


class DeliveryBatcher:
    """Records the deliveries of concurrent requests. A commit waits for a disk, so one commit serves a whole batch."""

    def __init__(self, state: State, ask: Ask) -> None:
        self._state = state
        self._ask = ask
        self._queue: asyncio.Queue[_Pending] = asyncio.Queue(QUEUE_MAX)
        self._is_running = True

    async def take(self, received: Sequence[Delivery]) -> int:
        """Record deliveries. Returns how many are new; they are committed when this returns.

        Raises:
            ProblemResponse: Too many wait already (429).
            Unavailable: The record cannot be reached.
        """
        if not received:
            return 0
        if not self._is_running:
            raise _stopping()
        pending = _Pending(tuple(received), asyncio.get_running_loop().create_future())
        try:
            self._queue.put_nowait(pending)
        except asyncio.QueueFull as error:
            hint = "send it again; nothing of it was recorded"
            retry = {"Retry-After": "2"}
            raise ProblemResponse(429, "busy", "too many deliveries at once", hint=hint, headers=retry) from error
        return await pending.done

    async def work(self) -> None:
        """Record until cancelled; pending and later deliveries are then refused as not recorded."""
        batch: list[_Pending] = []
        try:
            while True:
                batch = [await self._queue.get()]
                while len(batch) < BATCH_MAX and not self._queue.empty():
                    batch.append(self._queue.get_nowait())
                await self._record(batch)
                batch = []
        finally:
            self._is_running = False
            while not self._queue.empty():
                batch.append(self._queue.get_nowait())
            for pending in batch:
                if not pending.done.done():
                    pending.done.set_exception(_stopping())

    async def _record(self, batch: list[_Pending]) -> None:
        try:
            counts = await self._ask(lambda: self._write(batch))
        except SyncdError as error:
            for pending in batch:
                if not pending.done.done():  # the client has gone
                    pending.done.set_exception(error)
            return
        for pending, count in zip(batch, counts, strict=True):
            if not pending.done.done():
                pending.done.set_result(count)

    def _write(self, batch: list[_Pending]) -> list[int]:
        with self._state.write() as conn:
            now = self._state.now(conn)
            return [deliveries.record(conn, pending.deliveries, now) for pending in batch]


def _stopping() -> ProblemResponse:
    return ProblemResponse(503, "unavailable", "the process is stopping", headers={"Retry-After": "5"})
