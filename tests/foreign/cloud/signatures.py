"""Signatures of OSS (V4, in the Authorization header) and of Function Compute (ACS3-HMAC-SHA256)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import quote

OSS_ALGORITHM: Final = "OSS4-HMAC-SHA256"
ACS_ALGORITHM: Final = "ACS3-HMAC-SHA256"
UNSIGNED: Final = "UNSIGNED-PAYLOAD"
# OSS documents 15 minutes; the ACS3 page asks for the same.
SKEW_MAX: Final = timedelta(minutes=15)
Query = list[tuple[str, str]]


class Refused(Exception):
    """The signature is not accepted: `code` and `status` are the service's."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Key:
    """An access key, and the region that its requests are signed for."""

    id: str
    secret: str
    region: str


@dataclass(frozen=True)
class Request:
    """What a signature covers. Header names are lower case; `path` and `query` are decoded."""

    method: str
    path: str
    query: Query
    headers: Mapping[str, str]
    body: bytes = b""


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _query(query: Query, *, bare: bool) -> str:
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query)
    return "&".join(name if bare and not value else f"{name}={value}" for name, value in pairs)


def oss_signature(key: Key, request: Request, moment: str, additional: list[str]) -> str:
    """The V4 signature of a request, in hex. `moment` is like 20261130T151500Z."""
    signed = {
        name: value.strip()
        for name, value in request.headers.items()
        if name.startswith("x-oss-") or name in {"content-type", "content-md5"} or name in additional
    }
    canonical = "\n".join(
        (
            request.method,
            quote(request.path, safe="/-_.~"),
            _query(request.query, bare=True),
            "".join(f"{name}:{signed[name]}\n" for name in sorted(signed)),
            ";".join(additional),
            request.headers.get("x-oss-content-sha256", UNSIGNED),
        )
    )
    scope = f"{moment[:8]}/{key.region}/oss/aliyun_v4_request"
    text = "\n".join((OSS_ALGORITHM, moment, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    derived = ("aliyun_v4" + key.secret).encode()
    for part in scope.split("/"):
        derived = _hmac(derived, part)
    return hmac.new(derived, text.encode(), hashlib.sha256).hexdigest()


def oss_authorization(key: Key, request: Request, moment: str) -> str:
    """The Authorization header that a client sends."""
    scope = f"{moment[:8]}/{key.region}/oss/aliyun_v4_request"
    return f"{OSS_ALGORITHM} Credential={key.id}/{scope},Signature={oss_signature(key, request, moment, [])}"


def verify_oss(key: Key, request: Request, now: datetime) -> None:
    """Accept a request that was signed with V4 by the key for this region.

    Raises:
        Refused: It was not, or its time is more than 15 minutes off.
    """
    header = request.headers.get("authorization", "")
    if not header:
        raise Refused(403, "AccessDenied", "the request has no Authorization header; anonymous access is not allowed")
    if not header.startswith(OSS_ALGORITHM + " "):
        raise Refused(501, "NotImplemented", "only V4 signatures in the Authorization header are played")
    fields = dict(field.strip().partition("=")[::2] for field in header[len(OSS_ALGORITHM) + 1 :].split(","))
    moment = _oss_moment(request.headers)
    _check_skew(moment, now, "RequestTimeTooSkewed")
    stamp = moment.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{stamp[:8]}/{key.region}/oss/aliyun_v4_request"
    access, _, signed_for = fields.get("Credential", "").partition("/")
    if access != key.id:
        raise Refused(403, "InvalidAccessKeyId", f"the access key {access!r} does not exist")
    if signed_for != scope:
        raise Refused(403, "SignatureDoesNotMatch", f"the credential scope is {signed_for!r}, expected {scope!r}")
    if request.headers.get("x-oss-content-sha256") != UNSIGNED:
        raise Refused(400, "InvalidArgument", "x-oss-content-sha256 must be UNSIGNED-PAYLOAD")
    additional = _additional(fields, request.headers)
    if not hmac.compare_digest(fields.get("Signature", ""), oss_signature(key, request, stamp, additional)):
        raise Refused(403, "SignatureDoesNotMatch", "the signature is not that of the request")


def _additional(fields: Mapping[str, str], headers: Mapping[str, str]) -> list[str]:
    if "AdditionalHeaders" not in fields:
        return []
    names = fields["AdditionalHeaders"].split(";")
    if names != sorted({name.lower() for name in names}) or not all(name in headers for name in names):
        raise Refused(400, "InvalidArgument", "AdditionalHeaders must be present, lower case, sorted and not empty")
    return names


def _oss_moment(headers: Mapping[str, str]) -> datetime:
    try:
        if "x-oss-date" in headers:
            return datetime.strptime(headers["x-oss-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return parsedate_to_datetime(headers["date"])
    except (KeyError, ValueError) as error:
        raise Refused(403, "AccessDenied", "neither x-oss-date nor Date is a time") from error


def _check_skew(moment: datetime, now: datetime, code: str) -> None:
    if abs(now - moment) > SKEW_MAX:
        raise Refused(403, code, f"the request was signed at {moment.isoformat()}, it is {now.isoformat()}")


def acs_signature(key: Key, request: Request, signed: list[str]) -> str:
    """The ACS3 signature of a request, in hex, over the headers that `signed` names."""
    canonical = "\n".join(
        (
            request.method,
            quote(request.path, safe="/-_.~"),
            _query(request.query, bare=False),
            "".join(f"{name}:{request.headers.get(name, '').strip()}\n" for name in sorted(signed)),
            ";".join(signed),
            hashlib.sha256(request.body).hexdigest(),
        )
    )
    text = f"{ACS_ALGORITHM}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    return hmac.new(key.secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def acs_authorization(key: Key, request: Request) -> str:
    """The Authorization header that a client sends; every header of the request is signed."""
    signed = sorted(request.headers)
    signature = acs_signature(key, request, signed)
    return f"{ACS_ALGORITHM} Credential={key.id},SignedHeaders={';'.join(signed)},Signature={signature}"


def verify_acs(key: Key, request: Request, now: datetime) -> None:
    """Accept a request that was signed by the key.

    Raises:
        Refused: It was not, a header that must be signed is not, or its time is off.
    """
    algorithm, _, rest = request.headers.get("authorization", "").partition(" ")
    if algorithm != ACS_ALGORITHM:
        raise Refused(400, "MissingRequiredHeader", f"Authorization must be {ACS_ALGORITHM}")
    fields = dict(field.strip().partition("=")[::2] for field in rest.split(","))
    if fields.get("Credential") != key.id:
        raise Refused(403, "InvalidAccessKeyID", f"the access key {fields.get('Credential')!r} does not exist")
    signed = fields.get("SignedHeaders", "").split(";")
    required = {"host", *(name for name in request.headers if name.startswith("x-acs-"))}
    if missing := required - set(signed):
        raise Refused(403, "SignatureNotMatch", f"not signed: {', '.join(sorted(missing))}")
    try:
        moment = datetime.strptime(request.headers.get("x-acs-date", ""), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise Refused(400, "MissingRequiredHeader", "x-acs-date is not a time") from error
    _check_skew(moment, now, "InvalidTimeStamp.Expired")
    if request.headers.get("x-acs-content-sha256") != hashlib.sha256(request.body).hexdigest():
        raise Refused(403, "SignatureNotMatch", "x-acs-content-sha256 is not the digest of the body")
    if not hmac.compare_digest(fields.get("Signature", ""), acs_signature(key, request, signed)):
        raise Refused(403, "SignatureNotMatch", "the signature is not that of the request")
