"""EventBridge signature check: RSA over the configured URL, five headers and the body, with a region's key.

All customers of a region share the key, so it proves the sender but not the owner of the event. The token among the
signed headers proves that: only the creator of the event target knows it.
"""

from __future__ import annotations

import re
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Collection
from typing import Final

import httpx
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from syncd.api.webhooks.signatures import Clock, SignedRequest, equal, refused, require_fresh
from syncd.errors import Invalid, SyncdError, Unavailable
from syncd.secret import Secret

# https://www.alibabacloud.com/help/en/eventbridge/user-guide/signature-algorithm: "https://[RegionId]-eventbridge.oss-
# accelerate.aliyuncs.com". The label before "oss-accelerate" is a bucket's name: any customer may own one that ends so.
_THEIRS: Final = re.compile(
    r"https://([a-z0-9-]+)-eventbridge\.oss-accelerate\.aliyuncs\.com/x509_public_certificate[A-Za-z0-9._-]*\.pem"
)
_PREFIX: Final = "x-eventbridge-signature-"
_SIGNED: Final = (
    f"{_PREFIX}timestamp",
    "x-eventbridge-hash-method",
    f"{_PREFIX}version",
    f"{_PREFIX}url",
    f"{_PREFIX}token",
)
CERTIFICATE_MAX_BYTES: Final = 64 << 10
CERTIFICATES_MAX: Final = 16  # about the number of regions
KEPT_S: Final = 86400.0
_TIMEOUT_S: Final = 5.0
KeyOf = Callable[[str], rsa.RSAPublicKey]


class Certificates:
    """Cache of the regions' keys, fetched from their own address and kept for a day. Thread-safe."""

    def __init__(self, fetch: Callable[[str], bytes] | None = None) -> None:
        self._fetch = fetch or fetch_certificate
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, rsa.RSAPublicKey]] = {}

    def key(self, url: str, regions: Collection[str]) -> rsa.RSAPublicKey:
        """The key at `url`, which must be an address of EventBridge in one of `regions`.

        Raises:
            Invalid: The URL is another one, or does not have a certificate.
            Unavailable: It cannot be fetched now.
        """
        require_theirs(url, regions)
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


def require_theirs(url: str, regions: Collection[str]) -> None:
    """Raises Invalid for a certificate's URL outside EventBridge in `regions`: an attacker would supply a key."""
    match = _THEIRS.fullmatch(url)
    if match is None or match[1] not in regions:
        raise Invalid("expected a certificate's URL of EventBridge in the webhook's region, got another")


def fetch_certificate(url: str) -> bytes:
    """Fetch a certificate without following redirects. Raises Unavailable."""
    found = bytearray()
    try:
        with httpx.stream("GET", url, timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False) as answer:
            if answer.status_code != 200:
                raise Unavailable(f"{url}: expected a certificate, got status {answer.status_code}")
            for piece in answer.iter_bytes():
                found += piece
                if len(found) > CERTIFICATE_MAX_BYTES:
                    raise Unavailable(f"{url}: expected a certificate, got more than {CERTIFICATE_MAX_BYTES} bytes")
    except httpx.HTTPError as error:
        raise Unavailable(f"{url}: the certificate cannot be fetched: {type(error).__name__}") from error
    return bytes(found)


def public_key(pem: bytes) -> rsa.RSAPublicKey:
    """The RSA key of a certificate or of a bare public key. Raises Invalid."""
    try:
        if b"BEGIN CERTIFICATE" in pem:
            found = x509.load_pem_x509_certificate(pem).public_key()
        else:
            found = serialization.load_pem_public_key(pem)  # type: ignore[assignment]
    except ValueError as error:
        raise Invalid("expected a certificate or a public key in PEM, got something else") from error
    if not isinstance(found, rsa.RSAPublicKey):
        raise Invalid("expected an RSA key, got another kind")
    return found


def is_shown(head: SignedRequest, secrets: tuple[Secret, ...]) -> bool:
    """Whether the head has the token of the event target, which only its creator and EventBridge know."""
    token = head.header(_SIGNED[-1])
    return bool(sum(equal(token, secret.reveal().encode()) for secret in secrets))


def require_genuine(sent: SignedRequest, url: str, secrets: tuple[Secret, ...], key_of: KeyOf, clock: Clock) -> None:
    """Return if the delivery is EventBridge's and meant for this syncd.

    Raises:
        ProblemResponse: The signature or token is missing or wrong (401), or too old (400).
        Unavailable: The key cannot be fetched now.
    """
    if not is_shown(sent, secrets):
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
    for signed in (text, text + b"\n"):  # public verifiers differ on a final newline
        try:
            key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            continue
        return True
    return False
