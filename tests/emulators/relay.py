"""What stands in front of a registry of images: takes each request whole, hands it on, and counts the bytes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx

from tests.emulators.web import Reply, Request, Web

_NOT_HANDED_ON = {"host", "content-length", "connection", "accept-encoding"}
_NOT_HANDED_BACK = {"content-length", "date", "connection", "transfer-encoding"}


class ImageRelay:
    """With `keeps_state` an upload goes on at one address, whatever the registry behind has made of it since.

    Without it the registry's own addresses are told, each of which is good for one offset only.
    """

    def __init__(self, origin: str, *, keeps_state: bool = False) -> None:
        self.web = Web(self.forward)
        self.sent = Counter[str]()
        self._origin = origin
        self._keeps_state = keeps_state
        self._lock = threading.Lock()
        self._states: dict[str, str] = {}
        self._client = httpx.Client(timeout=30, trust_env=False)

    @property
    def origin(self) -> str:
        return self.web.origin

    @property
    def bytes_in(self) -> int:
        """Of all blobs that were sent, as often as they were."""
        return self.sent["PATCH"] + self.sent["PUT"]

    def forward(self, request: Request, body: bytes | None = None) -> Reply:
        """Hand a request on, or one with another body."""
        sent = request.body if body is None else body
        with self._lock:
            if "/blobs/uploads/" in request.path:
                self.sent[request.method] += len(sent)
            url = self._states.get(request.path) if self._keeps_state else None
        target = httpx.URL(url or f"{self._origin}{request.target}")
        if url and request.query:
            target = target.copy_merge_params(dict(request.query))
        headers = {name: value for name, value in request.headers.items() if name not in _NOT_HANDED_ON}
        answer = self._client.request(request.method, target, headers=headers, content=sent)
        return Reply(answer.status_code, self._told(answer.headers, request.method), answer.content)

    def _told(self, headers: Mapping[str, str], method: str) -> dict[str, str]:
        told = {name: value for name, value in headers.items() if name.lower() not in _NOT_HANDED_BACK}
        if method == "HEAD" and "content-length" in headers:
            told["Content-Length"] = headers["content-length"]
        location = told.get("location", "")
        if location:
            parts = urlsplit(location)
            if self._keeps_state and "/blobs/uploads/" in parts.path:
                with self._lock:
                    self._states[parts.path] = location
                told["location"] = f"{self.origin}{parts.path}"
            else:
                told["location"] = location.replace(self._origin, self.origin)
        return told


@contextmanager
def image_relay(origin: str, *, keeps_state: bool = False) -> Iterator[ImageRelay]:
    """One that serves while it is entered."""
    relay = ImageRelay(origin, keeps_state=keeps_state)
    with relay.web:
        yield relay
    relay._client.close()
