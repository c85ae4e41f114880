"""What stands between a sender of webhooks and the daemon: known before either, and able to lose everything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.acceptance.stage import until
from tests.emulators.web import Reply, Request, Web

_NOT_PASSED = {"host", "content-length", "connection", "transfer-encoding", "accept-encoding"}


class Relay:
    """Passes deliveries on to `to`; while that is "", it loses them and says that all is well."""

    def __init__(self) -> None:
        self.to = ""
        self.passed: list[tuple[str, int]] = []
        self.lost: list[str] = []
        self.web = Web(self._answer)

    def has_lost(self, hook: str, at_least: int) -> None:
        """Wait until so much that was sent there is lost."""
        until(lambda: self.lost.count(f"/hooks/{hook}") >= at_least, f"{at_least} deliveries to {hook}")

    def url(self, hook: str) -> str:
        return f"{self.web.origin}/hooks/{hook}"

    def _answer(self, request: Request) -> Reply:
        if not self.to:
            self.lost.append(request.path)
            return Reply(202)
        headers = {name: value for name, value in request.headers.items() if name not in _NOT_PASSED}
        try:
            sent = httpx.request(
                request.method, self.to + request.path, content=request.body, headers=headers, trust_env=False
            )
        except httpx.TransportError:  # the daemon is down: what a proxy says then
            self.lost.append(request.path)
            return Reply(502)
        self.passed.append((request.path, sent.status_code))
        return Reply(sent.status_code, {}, sent.content)


@contextmanager
def relay() -> Iterator[Relay]:
    made = Relay()
    with made.web:
        yield made
