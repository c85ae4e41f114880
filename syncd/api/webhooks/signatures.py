"""Whether a delivery is genuine: decided on the raw bytes, in constant time, before anything of them is parsed."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from syncd.api.responses import ProblemResponse
from syncd.secret import Secret


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A delivery as it came. Names of headers are lower case; a header that came twice is not in it."""

    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes

    def header(self, name: str) -> bytes:
        """A header's bytes, empty where there is none."""
        return self.headers.get(name, "").encode("latin-1", "replace")


class Scheme(StrEnum):
    """How senders prove themselves."""

    STANDARD = "standard"  # Standard Webhooks: HMAC over id, timestamp and body; the secret is base64
    MLFLOW = "mlflow"  # the same by other names; the secret is text
    GITHUB = "github"  # HMAC over the body
    SHOWN_BY_HUGGINGFACE = "huggingface"  # the secret itself, in a header
    SHOWN = "shown"  # the secret itself, in Authorization
    SHOWN_IN_URL = "shown-in-url"  # and where no header can be configured, in the URL


@dataclass(frozen=True, slots=True)
class Clock:
    """The time now, in seconds since 1970, and how far from it a signed one may be."""

    now_s: float
    window_s: float


def equal(one: bytes, other: bytes) -> bool:
    """Compared as hashes and in constant time, so that neither length nor content of a secret can be measured."""
    return hmac.compare_digest(hashlib.sha256(one).digest(), hashlib.sha256(other).digest())


def require_genuine(scheme: Scheme, sent: SignedRequest, secrets: Sequence[Secret], clock: Clock) -> None:
    """Returns where one of the secrets proves the delivery.

    Raises:
        Problem: The proof is missing or wrong (401), or was made too long ago or for the future (400).
    """
    if not sum(_CHECKS[scheme](sent, secret) for secret in secrets):  # all of them, however early one fits
        raise refused()
    stamp = _STAMPS.get(scheme)
    if stamp is not None:
        require_fresh(sent.header(stamp), clock)


def require_fresh(stamp: bytes, clock: Clock, *, unit_s: float = 1.0) -> None:
    """Raises Problem (400) where a signed time is further away than the window, or is none."""
    if not stamp.isdigit() or len(stamp) > 16:
        raise ProblemResponse(400, "stale", "the signed timestamp is not a number")
    away_s = abs(clock.now_s - int(stamp) * unit_s)
    if away_s > clock.window_s:
        hint = "look at both clocks; a delivery that is repeated from a record is refused"
        message = f"the signed timestamp is {away_s:.0f} s away, more than {clock.window_s:g} s"
        raise ProblemResponse(400, "stale", message, hint=hint)


def refused() -> ProblemResponse:
    """One answer for every kind of wrong proof, so that it helps nobody to a right one."""
    hint = "compare the secret that the sender was given with the one in the configuration"
    return ProblemResponse(401, "unauthenticated", "the delivery's signature or secret is missing or wrong", hint=hint)


def _standard(sent: SignedRequest, secret: Secret) -> bool:
    key = base64.b64decode(secret.reveal().removeprefix("whsec_"))
    return _timed(sent, key, ("webhook-id", "webhook-timestamp", "webhook-signature"))


def _mlflow(sent: SignedRequest, secret: Secret) -> bool:
    names = ("x-mlflow-delivery-id", "x-mlflow-timestamp", "x-mlflow-signature")
    return _timed(sent, secret.reveal().encode(), names)


def _timed(sent: SignedRequest, key: bytes, names: tuple[str, str, str]) -> bool:
    identity, stamp, shown = (sent.header(name) for name in names)
    if not identity or not stamp:
        return False
    made = hmac.new(key, b"%s.%s.%s" % (identity, stamp, sent.body), hashlib.sha256).digest()
    wanted = b"v1," + base64.b64encode(made)
    return sum(equal(one, wanted) for one in shown.split(b" ")) > 0  # a sender in rotation signs with each key


def _github(sent: SignedRequest, secret: Secret) -> bool:
    made = hmac.new(secret.reveal().encode(), sent.body, hashlib.sha256).hexdigest()
    return equal(sent.header("x-hub-signature-256"), b"sha256=" + made.encode())


def _huggingface(sent: SignedRequest, secret: Secret) -> bool:
    return equal(sent.header("x-webhook-secret"), secret.reveal().encode())


def _shown(sent: SignedRequest, secret: Secret) -> bool:
    shown, wanted = sent.header("authorization"), secret.reveal().encode()
    return equal(shown, wanted) | equal(shown, b"Bearer " + wanted)


def _shown_in_url(sent: SignedRequest, secret: Secret) -> bool:
    in_url = sent.query.get("token", "").encode("utf-8", "surrogatepass")
    return equal(in_url, secret.reveal().encode()) | _shown(sent, secret)


_CHECKS: Final[Mapping[Scheme, Callable[[SignedRequest, Secret], bool]]] = {
    Scheme.STANDARD: _standard,
    Scheme.MLFLOW: _mlflow,
    Scheme.GITHUB: _github,
    Scheme.SHOWN_BY_HUGGINGFACE: _huggingface,
    Scheme.SHOWN: _shown,
    Scheme.SHOWN_IN_URL: _shown_in_url,
}
_STAMPS: Final = {Scheme.STANDARD: "webhook-timestamp", Scheme.MLFLOW: "x-mlflow-timestamp"}
