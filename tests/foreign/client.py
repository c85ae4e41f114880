"""A client of the two services: what the oracle asks a region with, and what people do in the console."""

from __future__ import annotations

import hashlib
import http.client
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit
from xml.etree import ElementTree as ET

from tests.foreign.cloud.signatures import UNSIGNED, Key, Request, acs_authorization, oss_authorization

TIMEOUT_S: Final = 30.0


class Failed(Exception):
    """The region answered with an error."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status}: {body[:500]!r}")
        self.status = status
        self.body = body


@dataclass(frozen=True)
class Answer:
    """A region's answer. Header names are lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Client:
    """Signed requests to one region at `url`."""

    url: str
    key: Key

    def _send(self, request: Request) -> Answer:
        host = urlsplit(self.url)
        connection = http.client.HTTPConnection(host.hostname or "", host.port, timeout=TIMEOUT_S)
        target = quote(request.path, safe="/-_.~")
        if request.query:
            target += "?" + urlencode(request.query, quote_via=quote)
        try:
            connection.putrequest(request.method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in {"content-length": str(len(request.body)), **request.headers}.items():
                connection.putheader(name, value)
            connection.endheaders(request.body)
            response = connection.getresponse()
            return Answer(
                response.status, response.read(), {name.lower(): value for name, value in response.getheaders()}
            )
        finally:
            connection.close()

    def oss(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """A request to OSS; `path` is /BUCKET/KEY. The answer is given whatever its status is."""
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        signed = {
            **(headers or {}),
            "host": urlsplit(self.url).netloc,
            "x-oss-date": moment,
            "x-oss-content-sha256": UNSIGNED,
        }
        request = Request(method, path, list((query or {}).items()), signed, body)
        signed["authorization"] = oss_authorization(self.key, request, moment)
        return self._send(request)

    def fc(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None) -> Answer:
        """A request to Function Compute; `path` comes after the version of the API."""
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        headers = {
            "host": urlsplit(self.url).netloc,
            "content-type": "application/octet-stream" if isinstance(body, bytes) else "application/json",
            "x-acs-content-sha256": hashlib.sha256(content).hexdigest(),
            "x-acs-date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "x-acs-signature-nonce": secrets.token_hex(16),
            "x-acs-version": "2023-03-30",
        }
        request = Request(method, "/2023-03-30" + path, list((query or {}).items()), headers, content)
        headers["authorization"] = acs_authorization(self.key, request)
        return self._send(request)

    def ask(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None) -> Any:
        """A request to Function Compute that must succeed, and its JSON.

        Raises:
            Failed: Another status than 2xx, or a failed function.
        """
        answer = self.fc(method, path, query, body)
        if answer.status >= 300 or "x-fc-error-type" in answer.headers:
            raise Failed(answer.status, answer.body)
        return json.loads(answer.body) if answer.body else None

    def keys(self, bucket: str, prefix: str) -> dict[str, int]:
        """The sizes of a bucket's objects, by key.

        Raises:
            Failed: The bucket cannot be listed.
        """
        found: dict[str, int] = {}
        query = {"list-type": "2", "prefix": prefix, "max-keys": "1000"}
        while True:
            answer = self.oss("GET", f"/{bucket}/", query)
            if answer.status != 200:
                raise Failed(answer.status, answer.body)
            root = ET.fromstring(answer.body)
            for item in root.findall("Contents"):
                found[item.findtext("Key") or ""] = int(item.findtext("Size") or 0)
            if root.findtext("IsTruncated") != "true":
                return found
            query["continuation-token"] = root.findtext("NextContinuationToken") or ""
