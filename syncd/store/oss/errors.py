"""Error table of OSS: what each status and code means to the caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from syncd.errors import Conflict, Corrupt, Failed, Invalid, KeyRefused, NotFound, Refused, SyncdError, Unavailable

_KEYS: Final = "the credentials of this target are refused or have ended"
_BUCKET: Final = "create the bucket, or correct the target's bucket, endpoint and region"
_BY_CODE: Final[Mapping[str, tuple[type[SyncdError], str]]] = {
    "NoSuchKey": (NotFound, ""),
    "NoSuchUpload": (NotFound, ""),
    "NoSuchBucket": (Invalid, _BUCKET),  # never NotFound: of the objects nothing is known
    "InvalidBucketName": (Invalid, _BUCKET),
    "FileAlreadyExists": (Conflict, ""),
    "ObjectAlreadyExists": (Conflict, ""),
    "PreconditionFailed": (Conflict, ""),
    "FileImmutable": (Refused, "a retention policy (WORM) of the bucket forbids it"),
    "AccessDenied": (Refused, "give this user oss:PutObject, GetObject, DeleteObject, AbortMultipartUpload, List*"),
    "SignatureDoesNotMatch": (KeyRefused, _KEYS),
    "InvalidAccessKeyId": (KeyRefused, _KEYS),
    "InvalidSecurityToken": (KeyRefused, _KEYS),
    "SecurityTokenExpired": (KeyRefused, _KEYS),
    "UserDisable": (Refused, "the account is disabled or in arrears"),
    "RequestTimeTooSkewed": (Refused, "this machine's clock is more than 15 minutes wrong"),
    "InvalidObjectState": (Refused, "the object is archived: restore it, or change the bucket's lifecycle rule"),
    "InvalidRange": (Invalid, ""),
    "EntityTooLarge": (Invalid, ""),
    "EntityTooSmall": (Invalid, "parts but the last must be at least 100 KiB"),
    "InvalidPart": (Corrupt, ""),
    "InvalidPartOrder": (Corrupt, ""),
    "InvalidDigest": (Corrupt, ""),
    "BadDigest": (Corrupt, ""),
    "IncompleteBody": (Unavailable, ""),
    "RequestTimeout": (Unavailable, ""),
    "RequestIsNotMultiPartContent": (Unavailable, ""),
}
_BY_STATUS: Final[Mapping[int, tuple[type[SyncdError], str]]] = {
    # oss2's own, below nought: it could not ask, or could not read the answer
    -1: (Invalid, ""),
    -2: (Unavailable, "the endpoint cannot be reached from here"),
    -3: (Corrupt, ""),
    -4: (Unavailable, ""),
    -5: (Failed, ""),
    304: (Conflict, ""),
    400: (Invalid, ""),
    401: (KeyRefused, _KEYS),
    403: (Refused, _KEYS),
    404: (Unavailable, "404 without a code: is something else than OSS answering at this endpoint?"),
    405: (Refused, ""),
    408: (Unavailable, ""),
    409: (Conflict, ""),
    411: (Invalid, ""),
    412: (Conflict, ""),
    413: (Invalid, ""),
    429: (Unavailable, ""),
}
_MESSAGE_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """What OSS, or the SDK in its place, said."""

    status: int
    code: str
    message: str
    headers: Mapping[str, str]


class ErrorBody(Exception):
    """OSS, or the SDK in its place, answered with an error."""

    def __init__(self, answer: ErrorResponse) -> None:
        super().__init__(f"{answer.status} {answer.code}: {answer.message}")
        self.answer: Final = answer


def translate(answer: ErrorResponse, where: str) -> SyncdError:
    """The error to raise. What is in no table is Unavailable from 500 up, and Failed below."""
    unknown = (Unavailable if answer.status >= 500 else Failed, "")
    kind, hint = _BY_CODE.get(answer.code) or _BY_STATUS.get(answer.status, unknown)
    request_id = answer.headers.get("x-oss-request-id", "")
    said = answer.message if len(answer.message) <= _MESSAGE_MAX else answer.message[: _MESSAGE_MAX - 3] + "..."
    status = str(answer.status) if answer.status > 0 else "no answer"
    message = f"{where}: {' '.join(filter(None, (status, answer.code)))}: {said}"
    if request_id:
        message += f" (request {request_id})"
    if kind is Unavailable:
        throttled = f"{answer.status} {answer.code}".rstrip() if _is_throttling(answer) else ""
        return Unavailable(message, hint=hint, retry_after_s=_retry_after_s(answer.headers), throttled=throttled)
    return kind(message, hint=hint)


def _is_throttling(answer: ErrorResponse) -> bool:
    """Whether the call was refused because there are too many, rather than because something is broken."""
    return answer.status in {429, 503} or "x-oss-qos-delay-time" in answer.headers


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """How long the server wants to be left alone: `Retry-After` in seconds, or OSS's throttle in milliseconds."""
    for name, unit_s in (("retry-after", 1.0), ("x-oss-qos-delay-time", 0.001)):
        text = headers.get(name, "")
        if text.isdecimal():
            return float(text[:12]) * unit_s
    return None
