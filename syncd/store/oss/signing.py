"""Signatures of requests to OSS, version 4: of our own requests, and for oss2's bucket.

The SDK's own signer encodes a request character by character and derives the day's key anew each time: with all that
it formats for a log that is not kept, half of what a part costs beside its bytes. The SDK is the tests' oracle.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote

from syncd.secret import Secret
from syncd.store.oss.settings import Credentials

_PAYLOAD: Final = "UNSIGNED-PAYLOAD"  # the store's own CRC says what arrived
_KIND: Final = "OSS4-HMAC-SHA256"
_SIGNED: Final = frozenset({"content-type", "content-md5"})


class Signer:
    """Stands where oss2 expects its own. Safe from several threads. The credentials are asked for each request."""

    def __init__(self, credentials: Callable[[], Credentials], now: Callable[[], datetime] | None = None) -> None:
        self._credentials = credentials
        self._now = now or _utc

    def auth_version(self) -> str:
        """As oss2 names it."""
        return "v4"

    def sign(self, req: Any, bucket_name: str, key: str) -> None:
        """Add the headers that sign a request."""
        owner, at = self._credentials(), self._now().strftime("%Y%m%dT%H%M%SZ")
        req.headers["x-oss-date"] = at
        req.headers["x-oss-content-sha256"] = _PAYLOAD
        if owner.token:
            req.headers["x-oss-security-token"] = owner.token.reveal()
        scope = f"{at[:8]}/{req.region}/{req.product}/aliyun_v4_request"
        asked = "\n".join(
            [req.method, _path(bucket_name, key), _query(req.params), _headers(req.headers), "", _PAYLOAD]
        )
        text = f"{_KIND}\n{at}\n{scope}\n{sha256(asked.encode()).hexdigest()}"
        signature = hmac.digest(_key(owner.key_secret, scope), text.encode(), "sha256").hex()
        req.headers["authorization"] = f"{_KIND} Credential={owner.key_id}/{scope}, Signature={signature}"

    _sign_request = sign  # as oss2 calls it


def _path(bucket_name: str, key: str) -> str:
    return quote(f"/{bucket_name}/{key}" if bucket_name else "/", safe="/~")


def _query(params: Mapping[str, str]) -> str:
    pairs = sorted((quote(name, safe="~"), quote(value or "", safe="~")) for name, value in params.items())
    return "&".join(f"{name}={value}" if value else name for name, value in pairs)


def _headers(headers: Mapping[str, str | None]) -> str:
    """Those that are signed, each with a line end."""
    named = sorted((name.lower(), value) for name, value in headers.items())
    return "".join(f"{n}:{value}\n" for n, value in named if n.startswith("x-oss-") or n in _SIGNED)


@lru_cache(maxsize=64)
def _key(secret: Secret, scope: str) -> bytes:
    """The day's. A few are kept: one for each day, region and owner that are in use."""
    key = f"aliyun_v4{secret.reveal()}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _utc() -> datetime:
    return datetime.now(UTC)
