"""Verification of ACS3-HMAC-SHA256 signatures.

Pure: the clock and the keys are arguments. The signature covers exactly the headers in `SignedHeaders`; the
documentation requires only some headers, SDKs sign all they send.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from syncd.localcloud.account import CLOCK_SKEW_S_MAX, KeyLookup, SigningKey
from syncd.localcloud.fc.errors import FcError

ALGORITHM = "ACS3-HMAC-SHA256"
# A signature without these leaves the request open to change on the way.
MUST_SIGN = ("host", "x-acs-content-sha256", "x-acs-date", "x-acs-signature-nonce")

_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} Credential=(?P<key>[^,\s]+),\s*SignedHeaders=(?P<names>[^,\s]+),\s*"
    r"Signature=(?P<signature>[0-9a-fA-F]{64})"
)


@dataclass(frozen=True, slots=True)
class SignedCall:
    """The signed parts of a request. `path` is percent-encoded, `query` is decoded."""

    method: str
    path: str
    query: Sequence[tuple[str, str]]
    header: Callable[[str], str]
    body: bytes


def verify(call: SignedCall, keys: KeyLookup, now_s: float) -> str:
    """Return the access key that signed the call.

    Raises:
        FcError: A header is missing, the key is unknown, the clock is off by more than 15 minutes, or the
            token, the body's digest or the signature do not match.
    """
    found = _AUTHORIZATION.fullmatch(call.header("authorization").strip())
    if found is None:
        raise FcError(400, "MissingRequiredHeader", f"Authorization with {ALGORITHM} is required")
    names = found["names"].split(";")
    for name in MUST_SIGN:
        if not call.header(name) or name not in names:
            raise FcError(400, "MissingRequiredHeader", f"{name} is required and must be signed")
    key = keys.find(found["key"])
    if key is None:
        raise FcError(403, "InvalidAccessKeyID", f"access key id '{found['key']}' does not exist")
    _check_date(call.header("x-acs-date"), now_s)
    _check_token(call.header("x-acs-security-token"), key, now_s)
    if call.header("x-acs-content-sha256") != hashlib.sha256(call.body).hexdigest():
        raise FcError(403, "SignatureNotMatch", "x-acs-content-sha256 is not the digest of the body")
    expected = signature(call, names, key.access_key_secret)
    if not hmac.compare_digest(expected, found["signature"].lower()):
        raise FcError(403, "SignatureNotMatch", "the request signature does not match the one calculated here")
    return found["key"]


def signature(call: SignedCall, names: Sequence[str], secret: str) -> str:
    """The hex signature of the call over the named headers."""
    query = "&".join(f"{_encoded(k)}={_encoded(v)}" for k, v in sorted(call.query))
    headers = "".join(f"{name}:{call.header(name).strip()}\n" for name in names)
    digest = call.header("x-acs-content-sha256")
    canonical = "\n".join((call.method, call.path or "/", query, headers, ";".join(names), digest))
    to_sign = f"{ALGORITHM}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    return hmac.new(secret.encode(), to_sign.encode(), hashlib.sha256).hexdigest()


def _check_token(token: str, key: SigningKey, now_s: float) -> None:
    if token != key.security_token:
        raise FcError(403, "InvalidSecurityToken", "the security token does not belong to the access key")
    if now_s > key.expires_at_s:
        raise FcError(403, "SecurityTokenExpired", "the security token has expired")


def _check_date(text: str, now_s: float) -> None:
    try:
        signed = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError as cause:
        raise FcError(400, "InvalidArgument", f"x-acs-date is '{text}', expected YYYY-MM-DDTHH:MM:SSZ") from cause
    if abs(signed.timestamp() - now_s) > CLOCK_SKEW_S_MAX:
        now = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        raise FcError(
            403,
            "AccessDenied",
            f"the difference between the request time '{text}' and the current time '{now}' is too large",
        )


def _encoded(text: str) -> str:
    return quote(text, safe="~")
