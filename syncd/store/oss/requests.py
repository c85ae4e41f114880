"""Requests to one OSS bucket, made without the SDK, which spends more on each than it costs to send.

Frequent requests go this way; rare ones go through the SDK (`sdk`), over the same connections.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final
from urllib.parse import quote, urlencode, urlsplit
from xml.etree import ElementTree as ET

from syncd.store.base import Buffer
from syncd.store.oss.errors import ErrorBody
from syncd.store.oss.errors import ErrorResponse as OssAnswer
from syncd.store.oss.http import Address, HttpBody, HttpPool, PendingResponse
from syncd.store.oss.settings import OssSettings
from syncd.store.oss.signing import Signer

FORBID: Final = {"x-oss-forbid-overwrite": "true"}
_STATUS_WRONG: Final = 300  # from here on the answer is an error
_ERROR_BYTES_MAX: Final = 64 << 10


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
