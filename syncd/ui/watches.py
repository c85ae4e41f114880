"""Watched pages: those that show the same share one look at the record in each second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from syncd.api.dependencies import Server
from syncd.api.responses import ProblemResponse
from syncd.errors import SyncdError
from syncd.reconcile.views.release import Rates

STREAMS_MAX: Final = 160  # of the 224 requests in progress of proven callers; other pages ask every 15 s
STREAMS_EACH_MAX: Final = 40
POLL_EVERY_S: Final = 1.0
PROVE_EVERY_S: Final = 15.0  # a silent stream asks whether its token is valid, and keeps proxies from cutting it


@dataclass
class _Watch:
    """What several pages watch."""

    stamp: str
    rates: Rates = field(default_factory=Rates)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    listeners: int = 0
    work: asyncio.Task[None] | None = None


class Watches:
    """The watched pages of one server, by what they are about. Used in the server's event loop only."""

    def __init__(self) -> None:
        self._watches: dict[str, _Watch] = {}
        self._streams: dict[str, int] = {}  # by caller

    def rates(self, key: str) -> Rates | None:
        """The transfer rates of a release that is watched."""
        found = self._watches.get(key)
        return found.rates if found else None

    def admit(self, name: str) -> None:
        """Raises ProblemResponse (429) where too many streams are open."""
        if sum(self._streams.values()) >= STREAMS_MAX or self._streams.get(name, 0) >= STREAMS_EACH_MAX:
            raise ProblemResponse(429, "busy", "too many open pages", headers={"Retry-After": "15"})

    async def follow(self, server: Server, name: str, key: str, read: Callable[[], str]) -> AsyncGenerator[bool]:
        """True for each change, False where PROVE_EVERY_S have passed without one. Ends when the server stops.

        `read` makes a text that changes when what `key` is about does.
        """
        watch = self._watches.setdefault(key, _Watch(await server.ask(read)))
        watch.listeners += 1
        self._streams[name] = self._streams.get(name, 0) + 1
        if watch.work is None:
            watch.work = asyncio.create_task(_poll(server, watch, read))
        try:
            seen = watch.stamp
            yield True  # the page may be older than the first look
            while not server.stopping.is_set():
                if seen == watch.stamp:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(PROVE_EVERY_S):
                            await watch.changed.wait()
                is_new, seen = seen != watch.stamp, watch.stamp
                if not server.stopping.is_set():
                    yield is_new
        finally:
            self._leave(name, key, watch)

    def _leave(self, name: str, key: str, watch: _Watch) -> None:
        watch.listeners -= 1
        self._streams[name] -= 1
        if not self._streams[name]:
            del self._streams[name]
        if not watch.listeners and watch.work is not None:
            watch.work.cancel()
            del self._watches[key]


async def _poll(server: Server, watch: _Watch, read: Callable[[], str]) -> None:
    while not server.stopping.is_set():
        with suppress(SyncdError):  # the record cannot be read now: nothing changes on the page
            stamp = await server.ask(read)
            if stamp != watch.stamp:
                watch.stamp = stamp
                _wake(watch)
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_EVERY_S):
                await server.stopping.wait()
    _wake(watch)


def _wake(watch: _Watch) -> None:
    watch.changed.set()
    watch.changed = asyncio.Event()
