"""API client for reads: calls that need the role `read`."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote

from syncd.client.answers import ReleaseInfo
from syncd.client.connection import Connection
from syncd.client.types import TimedOut, expect_success, rows
from syncd.errors import Unavailable

if TYPE_CHECKING:
    from syncd.client.documents import ReleaseHistoryInfo

PAGE_MAX: Final = 200  # entries of a list in one answer
TIMEOUT_S: Final = 30.0  # of one request
SILENT_MAX_S: Final = 300.0  # draining a node and starting a pod elsewhere takes a minute or two


class Reader:
    """Client for reads, with a token of the role `read`. Thread-safe.

    Failed requests are repeated; they are idempotent. Every method raises:
        Refused: The token is missing, wrong, or has an insufficient role.
        Unavailable: The server did not answer, or was not available, in several attempts.
        Invalid: The request is not valid, or the server is not syncd.
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
        """Close the connections. Repeating it succeeds."""
        self._connection.close()

    def release(self, release_id: str) -> ReleaseInfo:
        """One release with its steps and events in `document`. Raises NotFound."""
        return ReleaseInfo.of(self._ask("GET", path_of_release(release_id)))

    def history(self, release_id: str) -> ReleaseHistoryInfo:
        """One release with its targets, bindings, steps and events. Raises NotFound."""
        from syncd.client.documents import ReleaseHistoryInfo  # noqa: PLC0415 -- forty classes

        return ReleaseHistoryInfo.of(self._ask("GET", path_of_release(release_id)))

    def releases(self, model: str | None = None, *, limit: int = 20) -> list[ReleaseInfo]:
        """Releases of one model or of all, newest first; more than PAGE_MAX in several requests.

        Raises:
            NotFound: No binding serves the model.
        """
        found: list[ReleaseInfo] = []
        query = {} if model is None else {"model": model}
        while True:
            query["limit"] = str(min(limit - len(found), PAGE_MAX))
            page = self._ask("GET", "/v1/releases", query=query)
            found += [ReleaseInfo.of(each) for each in rows(page, "releases")]
            if len(found) >= limit or not page.get("next"):
                return found
            query["before"] = str(page["next"])

    def models(self) -> list[Mapping[str, Any]]:
        """The models that are served, and their live versions."""
        return rows(self._ask("GET", "/v1/models"), "models")

    def status(self, model: str | None = None) -> Mapping[str, Any]:
        """Live versions, releases in flight, and what is stuck and why. Raises NotFound: no such model."""
        return self._ask("GET", "/v1/status", query={} if model is None else {"model": model})

    def health(self) -> Mapping[str, Any]:
        """Whether the daemon and all that it works with is well: `status` is good, degraded or bad."""
        return self._ask("GET", "/v1/health")

    def verification(self, model: str | None = None) -> Mapping[str, Any]:
        """The results of the last run of `syncd verify`, of one model or of all. Raises NotFound: no such model."""
        return self._ask("GET", "/v1/verification", query={} if model is None else {"model": model})

    def versions(self, model: str) -> Mapping[str, Any]:
        """The versions of a model, newest first, in its registry and in the record. Raises NotFound: no such model."""
        return self._ask("GET", f"/v1/models/{quote(model, safe='/').replace('..', '%2E%2E')}/versions")

    def version(self, model: str, version: str) -> Mapping[str, Any]:
        """A recorded version, with the medians of its first answers by region and kind of target.

        Raises:
            NotFound: The record has no such version.
        """
        return self._ask("GET", "/v1/version", query={"name": f"{model}@{version}"})

    def plan(self, name: str) -> Mapping[str, Any]:
        """What a release of this version would move and flip; changes nothing.

        Raises:
            NotFound: There is no such version.
        """
        return self._ask("GET", "/v1/plan", query={"name": name})

    def events(self, after: int | None = None) -> Iterator[Mapping[str, Any]]:
        """Events after the one with this id, or new ones; waits for the next. Ends when the server ends the stream.

        Raises:
            Unavailable: The connection broke; continue after the last id.
        """
        return self._connection.stream("/v1/events", {} if after is None else {"after": str(after)})

    def drift(self, name: str | None = None, *, ended: bool = False) -> Mapping[str, Any]:
        """Differences from the record, by the newest check of each binding; of one binding or model, or of all.

        `ended` includes the newest closed ones. Contacts no region.

        Raises:
            NotFound: There is no binding and no model of that name.
        """
        query = {"ended": "true" if ended else "false"} | ({} if name is None else {"name": name})
        return self._ask("GET", "/v1/drift", query=query)

    def repairs(self, model: str) -> list[Mapping[str, Any]]:
        """The newest repair of each placement of a model. Raises NotFound: no such model."""
        path = f"/v1/models/{quote(model, safe='/').replace('..', '%2E%2E')}/repairs"
        return rows(self._ask("GET", path), "repairs")

    def starts(self, model: str | None = None) -> Mapping[str, Any]:
        """Recorded cold starts by version, region and kind of storage. Raises NotFound: no such model."""
        return self._ask("GET", "/v1/starts", query={} if model is None else {"model": model})

    def advice(
        self,
        model: str,
        version: str | None = None,
        *,
        starts: int | None = None,
        calls: int | None = None,
        reads_twice: bool = False,
        multi_zone: bool = False,
    ) -> Mapping[str, Any]:
        """Where a version should live in each region, and why; default: the live version.

        `starts` is the number of instances that start at once, `calls` of calls at once. Contacts every region.

        Raises:
            NotFound: No binding serves the model, or it has no such version.
        """
        given = {"version": version, "starts": starts, "calls": calls}
        query = {"model": model} | {key: str(value) for key, value in given.items() if value is not None}
        query |= {"reads_twice": "true"} if reads_twice else {}
        query |= {"multi_zone": "true"} if multi_zone else {}
        return self._ask("GET", "/v1/advice", query=query)

    def wait(
        self,
        release_id: str,
        *,
        timeout_s: float = 0.0,
        poll_s: float = 1.0,
        going_back: bool = False,
        tell: Callable[[ReleaseInfo], None] | None = None,
    ) -> ReleaseInfo:
        """Wait until a release has ended; `tell` gets the release at every poll. Waits for a server that restarts.

        With `going_back`, a release that was undone in the middle of its flips counts as success.

        Raises:
            TimedOut: `timeout_s` has passed (0: no limit); the release continues.
            NotLive: It ended and is not live.
            NotFound: There is no such release.
            Unavailable: The server was silent for SILENT_MAX_S, or until `timeout_s` was over.
        """
        started = heard = time.monotonic()
        deadline = started + timeout_s if timeout_s else float("inf")
        phase = "in an unknown phase"
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
                    return expect_success(found, going_back=going_back)
                if heard >= deadline:
                    hint = "the release continues: wait again"
                    raise TimedOut(f"{release_id} is {phase} after {timeout_s:g} s", hint=hint)
            time.sleep(max(0.0, min(poll_s, deadline - time.monotonic())))


def path_of_release(release_id: str) -> str:
    """The path of a release on the server."""
    return f"/v1/releases/{quote(release_id, safe='')}"
