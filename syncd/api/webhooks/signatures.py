"""Signature checks of deliveries: on the raw bytes, in constant time, before any parsing."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from syncd.api.responses import ProblemResponse
from syncd.secret import Secret


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A delivery as received. Header names are lower case; a duplicate header is left out."""

    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes

    def header(self, name: str) -> bytes:
        """A header's bytes; empty if it is missing."""
        return self.headers.get(name, "").encode("latin-1", "replace")


class Scheme(StrEnum):
    """Authentication scheme of a sender."""

    STANDARD = "standard"  # Standard Webhooks: HMAC over id, timestamp and body; the secret is base64
    MLFLOW = "mlflow"  # the same by other names; the secret is text
    GITHUB = "github"  # HMAC over the body
    SHOWN_BY_HUGGINGFACE = "huggingface"  # the secret itself, in a header
    SHOWN = "shown"  # the secret itself, in Authorization
    SHOWN_IN_URL = "shown-in-url"  # in the URL, where no header can be configured


@dataclass(frozen=True, slots=True)
class Clock:
    """The current time in seconds since 1970, and the allowed distance of a signed timestamp."""

    now_s: float
    window_s: float


def equal(one: bytes, other: bytes) -> bool:
    """Compare as hashes in constant time, so that neither length nor content of a secret can be measured."""
    return hmac.compare_digest(hashlib.sha256(one).digest(), hashlib.sha256(other).digest())


def require_genuine(scheme: Scheme, sent: SignedRequest, secrets: Sequence[Secret], clock: Clock) -> None:
    """Return if one of the secrets authenticates the delivery.

    Raises:
        ProblemResponse: The signature or secret is missing or wrong (401), or its time is outside the window (400).
    """
    if not sum(_CHECKS[scheme](sent, secret) for secret in secrets):  # all: the time must not show which one fits
        raise refused()
    stamp = _STAMPS.get(scheme)
    if stamp is not None:
        require_fresh(sent.header(stamp), clock)


def is_shown(scheme: Scheme, head: SignedRequest, secrets: Sequence[Secret]) -> bool:
    """Whether the head alone authenticates the delivery: its sender shows one of the secrets."""
    return scheme in _PROVEN_BY_HEAD and bool(sum(_CHECKS[scheme](head, secret) for secret in secrets))


def is_signed(head: SignedRequest) -> bool:
    """Whether the head has what some sender signs with. Only then a body is read, of any webhook's name alike."""
    return any(
        all(form.fullmatch(head.headers.get(name, "")) for name, form in forms.items()) for forms in _SIGNED_HEADS
    )


def require_fresh(stamp: bytes, clock: Clock, *, unit_s: float = 1.0) -> None:
    """Raises ProblemResponse (400) if a signed timestamp is outside the window, or is not a number."""
    if not stamp.isdigit() or len(stamp) > 16:
        raise ProblemResponse(400, "stale", "the signed timestamp: expected a number")
    away_s = abs(clock.now_s - int(stamp) * unit_s)
    if away_s > clock.window_s:
        hint = "check both clocks; a replayed delivery is refused"
        message = f"the signed timestamp: expected at most {clock.window_s:g} s from now, got {away_s:.0f} s"
        raise ProblemResponse(400, "stale", message, hint=hint)


def refused() -> ProblemResponse:
    """The same response for every failed check, so that it gives no help to an attacker."""
    hint = "compare the webhook's name in the URL and the sender's secret with the configuration"
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
_PROVEN_BY_HEAD: Final = frozenset({Scheme.SHOWN_BY_HUGGINGFACE, Scheme.SHOWN, Scheme.SHOWN_IN_URL})
_TIMED_HEAD: Final = (re.compile("[!-~]{1,256}"), re.compile("[0-9]{1,16}"), re.compile("(v[^ ,]+,[^ ,]+ ?){1,16}"))
_SIGNED_HEADS: Final[tuple[Mapping[str, re.Pattern[str]], ...]] = (
    dict(zip(("webhook-id", "webhook-timestamp", "webhook-signature"), _TIMED_HEAD, strict=True)),
    dict(zip(("x-mlflow-delivery-id", "x-mlflow-timestamp", "x-mlflow-signature"), _TIMED_HEAD, strict=True)),
    {"x-hub-signature-256": re.compile("sha256=[0-9a-f]{64}")},
)
