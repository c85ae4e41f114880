"""EventBridge's signature: RSA over the URL it was told to call, five headers and the body, with a region's key.

The key is EventBridge's for everybody in a region, so it proves the sender and not whose event it is. The token that
stands among the signed headers does that: only who made the target knows it.
"""

from __future__ import annotations

import re
import threading
import time
from base64 import b64decode
from collections.abc import Callable
from typing import Final

import httpx
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from syncd.api.webhooks.signatures import Clock, SignedRequest, equal, refused, require_fresh
from syncd.errors import Invalid, SyncdError, Unavailable
from syncd.secret import Secret

_THEIRS: Final = re.compile(r"https://[a-z0-9-]+-eventbridge\.oss-accelerate\.aliyuncs\.com/[A-Za-z0-9._/-]+")
_PREFIX: Final = "x-eventbridge-signature-"
_SIGNED: Final = (
    f"{_PREFIX}timestamp",
    "x-eventbridge-hash-method",
    f"{_PREFIX}version",
    f"{_PREFIX}url",
    f"{_PREFIX}token",
)
CERTIFICATE_MAX_BYTES: Final = 64 << 10
CERTIFICATES_MAX: Final = 16  # there are about that many regions
KEPT_S: Final = 86400.0
_TIMEOUT_S: Final = 5.0
KeyOf = Callable[[str], rsa.RSAPublicKey]


class Certificates:
    """The regions' keys, fetched from their own address and kept for a day. Safe from several threads."""

    def __init__(self, fetch: Callable[[str], bytes] | None = None) -> None:
        self._fetch = fetch or fetch_certificate
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, rsa.RSAPublicKey]] = {}

    def key(self, url: str) -> rsa.RSAPublicKey:
        """The key at `url`.

        Raises:
            Invalid: The URL is not one of EventBridge's, or what is there is no certificate.
            Unavailable: It cannot be fetched now.
        """
        require_theirs(url)
        with self._lock:
            kept = self._kept.get(url)
            if kept is not None and time.monotonic() - kept[0] < KEPT_S:
                return kept[1]
        key = public_key(self._fetch(url))
        with self._lock:
            while len(self._kept) >= CERTIFICATES_MAX:
                self._kept.pop(next(iter(self._kept)))
            self._kept[url] = (time.monotonic(), key)
        return key


def require_theirs(url: str) -> None:
    """Raises Invalid for a certificate's address that is not EventBridge's own: a stranger would bring his own key."""
    if not _THEIRS.fullmatch(url):
        raise Invalid("the certificate's URL is not one of EventBridge's")


def fetch_certificate(url: str) -> bytes:
    """Read a certificate, without following where it leads. Raises Unavailable."""
    found = bytearray()
    try:
        with httpx.stream("GET", url, timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False) as answer:
            if answer.status_code != 200:
                raise Unavailable(f"{url}: answered {answer.status_code} instead of a certificate")
            for piece in answer.iter_bytes():
                found += piece
                if len(found) > CERTIFICATE_MAX_BYTES:
                    raise Unavailable(f"{url}: more than {CERTIFICATE_MAX_BYTES} bytes, which is no certificate")
    except httpx.HTTPError as error:
        raise Unavailable(f"{url}: the certificate cannot be fetched: {type(error).__name__}") from error
    return bytes(found)


def public_key(pem: bytes) -> rsa.RSAPublicKey:
    """The RSA key of a certificate, or a bare one. Raises Invalid."""
    try:
        if b"BEGIN CERTIFICATE" in pem:
            found = x509.load_pem_x509_certificate(pem).public_key()
        else:
            found = serialization.load_pem_public_key(pem)  # type: ignore[assignment]
    except ValueError as error:
        raise Invalid("that is no certificate and no public key in PEM") from error
    if not isinstance(found, rsa.RSAPublicKey):
        raise Invalid("that is not an RSA key")
    return found


def require_genuine(sent: SignedRequest, url: str, secrets: tuple[Secret, ...], key_of: KeyOf, clock: Clock) -> None:
    """Returns where the delivery is EventBridge's and was made for us.

    Raises:
        Problem: The proof is missing or wrong (401), or too old (400).
        Unavailable: The key cannot be fetched now.
    """
    token = sent.header(_SIGNED[-1])
    if not sum(equal(token, secret.reveal().encode()) for secret in secrets):
        raise refused()
    try:
        key = key_of(sent.headers.get(f"{_PREFIX}url", ""))
        signature = b64decode(sent.header(f"{_PREFIX}v2"), validate=True)
    except Unavailable:
        raise
    except (SyncdError, ValueError) as error:
        raise refused() from error
    if sent.header("x-eventbridge-hash-method") != b"SHA256" or not _is_signed(key, signature, sent, url):
        raise refused()
    require_fresh(sent.header(_SIGNED[0]), clock, unit_s=0.001)


def _is_signed(key: rsa.RSAPublicKey, signature: bytes, sent: SignedRequest, url: str) -> bool:
    head = "".join(f"{name}: {sent.headers[name]}\n" for name in _SIGNED if sent.headers.get(name))
    text = f"{url}\n{head}".encode("latin-1", "replace") + sent.body
    for signed in (text, text + b"\n"):  # public verifiers differ on the end
        try:
            key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            continue
        return True
    return False
