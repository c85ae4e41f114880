"""DSSE envelopes: a payload with its type, and signatures over both.

Source: github.com/secure-systems-lab/dsse, protocol.md and envelope.md, version 1.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from syncd.artifact.bounded_json import parse_bounded_bytes
from syncd.errors import Corrupt, Failed, Invalid, Unavailable

IN_TOTO: Final = "application/vnd.in-toto+json"
ENVELOPE_BYTES_MAX: Final = 256 << 20  # a statement names each file of a version
SIGNATURES_MAX: Final = 16
_SIGNER_S: Final = 60.0
_HASHES: Final[dict[str, Callable[[], hashes.HashAlgorithm]]] = {
    "secp256r1": hashes.SHA256, "secp384r1": hashes.SHA384, "secp521r1": hashes.SHA512,
}  # fmt: skip
PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
_KINDS: Final = "expected an Ed25519 key or an ECDSA key of P-256, P-384 or P-521, as PEM"


@dataclass(frozen=True, slots=True)
class EnvelopeSigner:
    """Signs what it is given. `key_id` names the public key that verifies it."""

    sign: Callable[[bytes], bytes]
    public: PublicKey

    @property
    def key_id(self) -> str:
        """See `key_id_of`."""
        return key_id_of(self.public)


def pae(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed: the pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def key_id_of(public: PublicKey) -> str:
    """SHA-256 of the key's SubjectPublicKeyInfo, in hexadecimal."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(public.public_bytes(serialization.Encoding.DER, form)).hexdigest()


def read_public(pem: bytes) -> PublicKey:
    """A public key. Raises Invalid: it is none, or of another kind."""
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Invalid(f"no public key that can be read: {_KINDS}") from error
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _HASHES:
        return key
    raise Invalid(f"a public key of another kind: {_KINDS}")


def key_signer(pem: bytes) -> EnvelopeSigner:
    """A signer with a private key. Raises Invalid: it is none, or of another kind; the message does not show it."""
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Invalid(f"no private key without a password that can be read: {_KINDS}") from None
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return EnvelopeSigner(key.sign, key.public_key())
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _HASHES:
        algorithm = ec.ECDSA(_HASHES[key.curve.name]())
        return EnvelopeSigner(lambda data: key.sign(data, algorithm), key.public_key())
    raise Invalid(f"a private key of another kind: {_KINDS}")


def command_signer(arguments: Sequence[str], public: PublicKey) -> EnvelopeSigner:
    """A signer that asks a program, such as a KMS's client: bytes on stdin, the signature as base64 on stdout."""

    def sign(data: bytes) -> bytes:
        try:
            done = subprocess.run(list(arguments), input=data, capture_output=True, check=False, timeout=_SIGNER_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"{arguments[0]}: the signer cannot be run, or did not answer in time") from error
        if done.returncode:
            raise Failed(f"{arguments[0]}: the signer ended with {done.returncode}: {done.stderr[-500:].decode()}")
        try:
            return base64.b64decode(done.stdout.strip(), validate=True)
        except binascii.Error as error:
            raise Failed(f"{arguments[0]}: expected a signature as base64 on stdout") from error

    return EnvelopeSigner(sign, public)


def seal_envelope(payload: bytes, signer: EnvelopeSigner, payload_type: str = IN_TOTO) -> bytes:
    """Sign a payload, and verify the signature before it is given out. Raises Failed: it is another key's."""
    data = pae(payload_type, payload)
    signature = signer.sign(data)
    if not _verifies(signer.public, signature, data):
        raise Failed("the signer's signature is not one of `receipts.public_key`", hint="compare the two keys")
    envelope = {
        "payloadType": payload_type,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": signer.key_id, "sig": base64.b64encode(signature).decode()}],
    }
    return json.dumps(envelope, separators=(",", ":")).encode() + b"\n"


def open_envelope(data: bytes, keys: Sequence[PublicKey], payload_type: str = IN_TOTO) -> bytes:
    """The payload of an envelope that one of these keys has signed.

    Raises:
        Invalid: It is no envelope of this type.
        Corrupt: No signature of these keys verifies.
    """
    found = _read(data)
    kind, payload, signatures = found.get("payloadType"), _decoded(found.get("payload")), found.get("signatures")
    if kind != payload_type:
        raise Invalid(f"expected an envelope of {payload_type!r}, got {kind!r}")
    if payload is None or not isinstance(signatures, list) or not 0 < len(signatures) <= SIGNATURES_MAX:
        raise Invalid("no DSSE envelope: it has no payload or no signatures")
    signed = pae(payload_type, payload)
    for each in signatures:
        signature = _decoded(each.get("sig")) if isinstance(each, dict) else None
        if signature is not None and any(_verifies(key, signature, signed) for key in keys):
            return payload
    names = sorted(str(each.get("keyid"))[:80] for each in signatures if isinstance(each, dict))
    raise Corrupt(
        f"no signature verifies: it names the keys {names}, given are {sorted(map(key_id_of, keys))}",
        hint="it was changed after it was signed, or another key signed it",
    )


def _read(data: bytes) -> dict[str, Any]:
    if len(data) > ENVELOPE_BYTES_MAX:
        raise Invalid(f"no DSSE envelope: it has {len(data)} bytes, at most {ENVELOPE_BYTES_MAX} are read")
    try:
        found = parse_bounded_bytes(data, "the envelope")
    except ValueError as error:
        raise Invalid("no DSSE envelope: it is not JSON") from error
    if not isinstance(found, dict):
        raise Invalid("no DSSE envelope: it is not a JSON object")
    return found


def _decoded(value: object) -> bytes | None:
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else None
    except (binascii.Error, ValueError):
        return None


def _verifies(key: PublicKey, signature: bytes, data: bytes) -> bool:
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, data)
        else:
            key.verify(signature, data, ec.ECDSA(_HASHES[key.curve.name]()))
    except InvalidSignature:
        return False
    return True
