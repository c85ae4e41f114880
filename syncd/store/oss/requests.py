"""Requests to one OSS bucket, made without the SDK, which spends more on each than it costs to send.

They are signed, sent and waited for; what the headers of an answer say, and what a failure means. Frequent requests go
this way; rare ones go through the SDK (`sdk`), over the same connections.
"""

from __future__ import annotations

import hmac
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from hashlib import sha256
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit
from xml.etree import ElementTree as ET

from syncd.errors import KeyRefused, Unavailable
from syncd.secret import Secret
from syncd.store.base import Buffer
from syncd.store.oss.dial import Address
from syncd.store.oss.errors import ErrorBody, translate
from syncd.store.oss.errors import ErrorResponse as OssAnswer
from syncd.store.oss.http import HttpBody, HttpPool, PendingResponse
from syncd.store.oss.responses import with_zone
from syncd.store.oss.settings import Credentials, OssSettings
from syncd.watchdog import mark_progress

FORBID: Final = {"x-oss-forbid-overwrite": "true"}
_STATUS_WRONG: Final = 300  # from here on the answer is an error
_ERROR_BYTES_MAX: Final = 64 << 10
_PAYLOAD: Final = "UNSIGNED-PAYLOAD"  # the store's own CRC says what arrived
_KIND: Final = "OSS4-HMAC-SHA256"
_SIGNED: Final = frozenset({"content-type", "content-md5"})


@dataclass(frozen=True, slots=True)
class OssRequest:
    """What is asked of an object, or with no name of its bucket. A parameter without a value is named only."""

    method: str
    name: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    data: Buffer = b""


@dataclass(frozen=True, slots=True)
class _Signed:
    """A request as it is signed; `headers` gets those that sign it."""

    method: str
    region: str
    params: Mapping[str, str]
    headers: dict[str, str]
    product: str = "oss"


class OssClient:
    """Safe from several threads. Raises Said for an answer that is an error, OSError where none came."""

    def __init__(self, settings: OssSettings, wire: HttpPool) -> None:
        self._bucket = settings.bucket
        self._credentials = settings.credentials
        self._region = settings.region
        self._signer = Signer(settings.credentials)
        self._wire = wire
        self._address, self._path = _address_of(settings)

    def ask(self, request: OssRequest) -> HttpBody:
        """Ask, and wait for the answer. Its body is read already, but for that of a GET."""
        return self.answered(self.begun(request))

    def begun(self, request: OssRequest) -> PendingResponse:
        """Ask. `answered` is called for it once, or its `close`."""
        signed = _Signed(request.method, self._region, request.params, dict(request.headers))
        self._signer.sign(signed, self._bucket, request.name)
        target = self._path + quote(request.name, safe="")
        if request.params:
            target += "?" + urlencode(request.params)
        return self._wire.send(request.method, self._address, target, signed.headers, request.data)

    def answered(self, asked: PendingResponse) -> HttpBody:
        """Wait for the answer."""
        answer = self._wire.answer(asked)
        if answer.status >= _STATUS_WRONG:
            raise _error_body(answer)
        if asked.method != "GET":
            answer.load()
        return answer

    def document(self, request: OssRequest) -> ET.Element:
        """Ask for an answer in XML. Raises ParseError as well."""
        answer = self.ask(request)
        try:
            return ET.fromstring(answer.read())  # noqa: S314 - the SDK reads every other answer of this server with it
        finally:
            answer.close()

    @contextmanager
    def translated(self, where: str) -> Iterator[None]:
        """As `translate_errors`. A refused key says where a new one is read from."""
        try:
            with translate_errors(where):
                yield
        except KeyRefused as error:
            used = self._credentials()
            error.key = used.fingerprint
            error.hint = used.renewal_hint
            raise


class Signer:
    """Signatures of version 4: of our own requests, and for oss2's bucket. Safe from several threads.

    The SDK's own signer encodes a request character by character and derives the day's key anew each time: with all
    that it formats for a log that is not kept, half of what a part costs beside its bytes. The SDK is the tests'
    oracle. The credentials are asked for each request.
    """

    def __init__(self, credentials: Callable[[], Credentials], now: Callable[[], datetime] | None = None) -> None:
        self._credentials = credentials
        self._now = now or _utc
        self._fixed: tuple[Secret, str, bytes] | None = None  # the day's key of a secret that cannot change

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
        signature = hmac.digest(self._key(owner.key_secret, scope), text.encode(), "sha256").hex()
        req.headers["authorization"] = f"{_KIND} Credential={owner.key_id}/{scope}, Signature={signature}"

    _sign_request = sign  # as oss2 calls it

    def _key(self, secret: Secret, scope: str) -> bytes:
        fixed = self._fixed
        if fixed is not None and fixed[0] is secret and fixed[1] == scope:
            return fixed[2]
        if secret.is_renewable:
            secret.reveal()  # its hash is that of the text it has now
            return _key_of(secret, scope)
        key = _key_of(secret, scope)
        self._fixed = (secret, scope, key)
        return key


def crc64_in(headers: Mapping[str, str]) -> int | None:
    """OSS's CRC of what it holds, if it says one."""
    text = headers.get("x-oss-hash-crc64ecma")
    return None if text is None else int(text)


def time_in(headers: Mapping[str, str], name: str) -> datetime:
    return with_zone(parsedate_to_datetime(headers[name]))


@contextmanager
def translate_errors(where: str) -> Iterator[None]:
    """Whatever OSS says and breaks becomes one of ours, and stays in `__cause__`.

    A malformed answer raises whatever `int` and the parser of XML make of it.
    """
    mark_progress()
    try:
        yield
    except ErrorBody as error:
        raise translate(error.answer, where) from error
    except OSError as error:
        what = "no byte came for too long" if isinstance(error, TimeoutError) else "the connection broke"
        raise Unavailable(f"{where}: {what}: {error}", hint="can the endpoint be reached from here?") from error
    except (ET.ParseError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unavailable(f"{where}: the answer cannot be read: {error!r:.300}") from error


def _error_body(answer: HttpBody) -> ErrorBody:
    body = answer.read(_ERROR_BYTES_MAX)
    answer.close()
    code = message = ""
    with suppress(ET.ParseError, ValueError):
        # What has no body, such as the answer to a HEAD, has it in a header.
        root = ET.fromstring(body or b64decode(answer.headers.get("x-oss-err", "")))  # noqa: S314 - see above
        if root.tag == "Error":
            code, message = root.findtext("Code", ""), root.findtext("Message", "")
    return ErrorBody(OssAnswer(answer.status, code, message or body.decode(errors="replace"), answer.headers))


def _address_of(settings: OssSettings) -> tuple[Address, str]:
    """Where a bucket is asked, and what its objects' paths begin with."""
    url = urlsplit(settings.endpoint)
    host = url.hostname or ""
    if settings.path_style or host == "localhost" or _is_ip(host):
        return Address(url.scheme, url.netloc), f"/{settings.bucket}/"
    return Address(url.scheme, f"{settings.bucket}.{url.netloc}"), "/"


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


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
def _key_of(secret: Secret, scope: str) -> bytes:
    """The day's. A few are kept: one for each day, region and owner that are in use."""
    key = f"aliyun_v4{secret.reveal()}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _utc() -> datetime:
    return datetime.now(UTC)
