"""Token checks: those that wait share one look at the record, so callers with wrong tokens take one thread."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from syncd.state.access import tokens
from syncd.state.records import Token
from syncd.state.state import State

Ask = Callable[[Callable[[], Any]], Awaitable[Any]]


class TokenChecks:
    """Finds tokens for concurrent requests. Its methods are called in the server's event loop only."""

    def __init__(self, state: State, ask: Ask) -> None:
        self._state = state
        self._ask = ask
        self._waiting: list[tuple[str, asyncio.Future[Token | None]]] = []
        self._work: asyncio.Task[None] | None = None

    async def find(self, text: str) -> Token | None:
        """The token with this text as the record has it after this call; None if it is unknown or revoked.

        Raises:
            SyncdError: As `ask` does; the record cannot be read now.
        """
        if not tokens.is_token(text):
            return None
        found: asyncio.Future[Token | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((text, found))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._look())
        return await found

    async def _look(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            texts = [text for text, _ in batch]
            try:
                results = await self._ask(partial(self._read, texts))
            except Exception as error:  # noqa: BLE001 -- the waiting caller gets the error, of any kind
                for _, found in batch:
                    if not found.done():  # the client has gone
                        found.set_exception(error)
                continue
            for (_, found), result in zip(batch, results, strict=True):
                if not found.done():
                    found.set_result(result)

    def _read(self, texts: list[str]) -> list[Token | None]:
        with self._state.read() as conn:
            return [tokens.find(conn, text) for text in texts]
