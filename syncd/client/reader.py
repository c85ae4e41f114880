"""What a token that only reads is enough for."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Self
from urllib.parse import quote

from syncd.client.connection import Connection
from syncd.client.types import Release, TimedOut, rows, well
from syncd.errors import Unavailable

TIMEOUT_S: Final = 30.0  # of one request
SILENT_MAX_S: Final = 300.0  # a node that is drained and a pod that starts elsewhere take a minute or two


class Reader:
    """What a token with the role `read` is enough for. Safe from several threads.

    Requests that did not arrive are sent again; asking twice is asking once. Every method raises:
        Refused: The token is missing, wrong, or may not do this.
        Unavailable: The server does not answer, or says that it cannot now, several times.
        Invalid: What was asked for cannot be right, or the server is not syncd.
    """

    def __init__(
        self,
        server: str,
        token: str,
        *,
        timeout_s: float = TIMEOUT_S,
        verify: ssl.SSLContext | bool = True,
        trust_env: bool = True,
    ) -> None:
        """`server` is a URL; a path in it is kept. `trust_env` takes a proxy from the environment."""
        self._connection: Final = Connection(server, token, timeout_s=timeout_s, verify=verify, trust_env=trust_env)
        self._ask: Final = self._connection.ask
        self.server: Final = server

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Repeating it is success."""
        self._connection.close()

    def release(self, release_id: str) -> Release:
        """One release with its steps and events in `document`. Raises NotFound."""
        return Release.of(self._ask("GET", path_of_release(release_id)))

    def releases(self, model: str | None = None, *, limit: int = 20) -> list[Release]:
        """Releases, newest first, of one model or of all. Raises NotFound: no binding serves the model."""
        query = {"limit": str(limit)} | ({} if model is None else {"model": model})
        return [Release.of(each) for each in rows(self._ask("GET", "/v1/releases", query=query), "releases")]

    def models(self) -> list[Mapping[str, Any]]:
        """Every model that is served, and what is live of it."""
        return rows(self._ask("GET", "/v1/models"), "models")

    def status(self, model: str | None = None) -> Mapping[str, Any]:
        """What is live where, what is in flight, what is stuck and why. Raises NotFound: no such model."""
        return self._ask("GET", "/v1/status", query={} if model is None else {"model": model})

    def drift(self, name: str | None = None, *, ended: bool = False) -> Mapping[str, Any]:
        """What is not as recorded, by the newest look at each binding; of one binding or model, or of all.

        With `ended` the newest that are over too. No region is asked.

        Raises:
            NotFound: There is no binding and no model of that name.
        """
        query = {"ended": "true" if ended else "false"} | ({} if name is None else {"name": name})
        return self._ask("GET", "/v1/drift", query=query)

    def wait(
        self,
        release_id: str,
        *,
        timeout_s: float = 0.0,
        poll_s: float = 1.0,
        going_back: bool = False,
        tell: Callable[[Release], None] | None = None,
    ) -> Release:
        """Wait until a release has ended; `tell` hears of every look. A server that restarts meanwhile is waited for.

        For who is `going_back`, a release that was undone in the middle of its flips is what was asked for.

        Raises:
            TimedOut: `timeout_s` is over (0: never); the release goes on.
            NotLive: It ended otherwise than live.
            NotFound: There is no such release.
            Unavailable: The server was silent for SILENT_MAX_S, or until `timeout_s` was over.
        """
        started = heard = time.monotonic()
        deadline = started + timeout_s if timeout_s else float("inf")
        phase = "not known"
        while True:
            try:
                found = self.release(release_id)
            except Unavailable:
                if time.monotonic() >= min(deadline, heard + SILENT_MAX_S):
                    raise
            else:
                heard, phase = time.monotonic(), found.phase
                if tell is not None:
                    tell(found)
                if found.has_ended:
                    return well(found, going_back=going_back)
                if heard >= deadline:
                    raise TimedOut(f"{release_id} is {phase} after {timeout_s:g} s", hint="it goes on: wait again")
            time.sleep(max(0.0, min(poll_s, deadline - time.monotonic())))


def path_of_release(release_id: str) -> str:
    """Where the server has it."""
    return f"/v1/releases/{quote(release_id, safe='')}"
