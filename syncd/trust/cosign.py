"""Signatures of cosign by key: a payload or a bundle that names the digest of a manifest in an OCI registry.

Source: github.com/sigstore/cosign, specs/SIGNATURE_SPEC.md: a simple-signing payload is what is signed, an ECDSA key
signs its SHA-256 whatever the curve, an Ed25519 key the payload itself. specs/BUNDLE_SPEC.md: a Sigstore bundle has a
DSSE envelope with an in-toto statement. The digest is that of the pinned manifest, which names each layer by digest,
so that no byte is hashed again.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from syncd.artifact.bounded_json import parse_bounded_bytes
from syncd.errors import Corrupt, Invalid
from syncd.trust.dsse import PublicKey, open_envelope, read_public

_TYPE: Final = "cosign container image signature"
_PREDICATE: Final = "https://sigstore.dev/cosign/sign/v1"  # others are attestations, which do not approve a manifest
_NOT_SIGNED: Final = "no key of `signers` has signed it, or it was changed after it was signed"


def verify_payload(pin: str, payload: bytes, signature: str, signers: Mapping[str, str]) -> str:
    """The id of the key of `signers` (PEM, by id) that signed the payload, which names `pin`.

    Raises:
        Invalid: The signature or the payload cannot be read.
        Corrupt: No key of `signers` signed it, or it names another manifest.
    """
    try:
        raw = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid("its signature is not base64") from error
    signer = next((name for name, pem in signers.items() if _verifies(read_public(pem.encode()), raw, payload)), "")
    if not signer:
        raise Corrupt(_NOT_SIGNED)
    try:
        critical: Any = parse_bounded_bytes(payload, "the payload")["critical"]
        kind, named = critical["type"], critical["image"]["docker-manifest-digest"]
    except (KeyError, TypeError, ValueError) as error:
        raise Invalid("it is signed, and not a simple-signing payload that can be read") from error
    if kind != _TYPE:
        raise Invalid(f"expected a payload of type {_TYPE!r}, got {str(kind)[:80]!r}")
    if named != pin:
        raise Corrupt(f"it signs the manifest {str(named)[:80]!r}, and not {pin}")
    return signer


def verify_bundle(pin: str, bundle: bytes, signers: Mapping[str, str]) -> str:
    """The id of the key of `signers` (PEM, by id) that signed the statement of a bundle, which names `pin`.

    Raises:
        Invalid: The bundle or its statement cannot be read, or it is not a signature.
        Corrupt: No key of `signers` signed it, or it names another manifest.
    """
    try:
        sealed = json.dumps(parse_bounded_bytes(bundle, "the bundle")["dsseEnvelope"]).encode()
    except (KeyError, TypeError, ValueError) as error:
        raise Invalid("it is not a Sigstore bundle with a DSSE envelope") from error
    signer, payload = _opened(sealed, signers)
    try:
        statement: Any = parse_bounded_bytes(payload, "the statement")
        kind, named = statement["predicateType"], [each["digest"]["sha256"] for each in statement["subject"]]
    except (KeyError, TypeError, ValueError) as error:
        raise Invalid("it is signed, and not a statement that can be read") from error
    if kind != _PREDICATE:
        raise Invalid(f"it is an attestation of type {str(kind)[:80]!r}, and not a signature")
    if pin not in {f"sha256:{each}" for each in named}:
        raise Corrupt(f"it signs the manifest {', '.join(map(str, named))[:80]!r}, and not {pin}")
    return signer


def _opened(sealed: bytes, signers: Mapping[str, str]) -> tuple[str, bytes]:
    for signer, pem in signers.items():
        try:
            return signer, open_envelope(sealed, [read_public(pem.encode())])
        except Corrupt:
            continue
    raise Corrupt(_NOT_SIGNED)


def _verifies(key: PublicKey, signature: bytes, payload: bytes) -> bool:
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, payload)
        else:
            key.verify(signature, payload, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True
