"""ACS3-HMAC-SHA256: whether a request was signed by who it says, over what it says.

Pure: the clock and the keys are arguments. Strictly what `SignedHeaders` lists is signed; the document names
only some headers, clients sign all they have.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import quote

from syncd.localcloud.fc.errors import FcError

ALGORITHM = "ACS3-HMAC-SHA256"
SKEW_MAX_S = 15 * 60
# What a signature that leaves out would leave open to change by anyone on the way.
MUST_SIGN = ("host", "x-acs-content-sha256", "x-acs-date", "x-acs-signature-nonce")

_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} Credential=(?P<key>[^,\s]+),\s*SignedHeaders=(?P<names>[^,\s]+),\s*"
    r"Signature=(?P<signature>[0-9a-fA-F]{64})"
)


class Credential(Protocol):
    """An access key's secret; with a token it is temporary, worth nothing without it or past its end."""

    @property
    def access_key_secret(self) -> str: ...
    @property
    def security_token(self) -> str: ...
    @property
    def expires_at_s(self) -> float: ...


class Keys(Protocol):
    """The access keys that may call."""

    def find(self, access_key_id: str, /) -> Credential | None: ...


@dataclass(frozen=True, slots=True)
class SignedCall:
    """The parts of a request a signature covers. `path` is as on the wire, `query` is decoded."""

    method: str
    path: str
    query: Sequence[tuple[str, str]]
    header: Callable[[str], str]
    body: bytes


def verify(call: SignedCall, keys: Keys, now_s: float) -> str:
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


def _check_token(token: str, key: Credential, now_s: float) -> None:
    if token != key.security_token:
        raise FcError(403, "InvalidSecurityToken", "the security token does not belong to the access key")
    if now_s > key.expires_at_s:
        raise FcError(403, "SecurityTokenExpired", "the security token has expired")


def _check_date(text: str, now_s: float) -> None:
    try:
        signed = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError as cause:
        raise FcError(400, "InvalidArgument", f"x-acs-date is '{text}', want YYYY-MM-DDTHH:MM:SSZ") from cause
    if abs(signed.timestamp() - now_s) > SKEW_MAX_S:
        now = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        raise FcError(
            403,
            "AccessDenied",
            f"the difference between the request time '{text}' and the current time '{now}' is too large",
        )


def _encoded(text: str) -> str:
    return quote(text, safe="~")
