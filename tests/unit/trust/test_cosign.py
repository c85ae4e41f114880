"""A payload of cosign counts if a known key signed it and it names the manifest; each change of it is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from syncd.errors import Corrupt, Invalid
from syncd.trust.cosign import verify_bundle, verify_payload
from syncd.trust.dsse import key_id_of, key_signer, read_public, seal_envelope

from tests.unit.trust.test_dsse import KEYS, pem, public_pem

PIN = f"sha256:{'ab' * 32}"
ANN = KEYS["p-256"]


def payload_of(pin: str, **critical: object) -> bytes:
    """As cosign writes it."""
    image = {"docker-manifest-digest": pin}
    identity = {"docker-reference": "registry.example/models/sdxl"}
    kind = "cosign container image signature"
    document = {"critical": {"identity": identity, "image": image, "type": kind, **critical}, "optional": None}
    return json.dumps(document, separators=(",", ":")).encode()


def signed(payload: bytes, key: Any = ANN) -> str:
    """The signature of a payload as cosign makes it: the hash is SHA-256 for every curve."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return base64.b64encode(key.sign(payload)).decode()
    return base64.b64encode(key.sign(payload, ec.ECDSA(hashes.SHA256()))).decode()


def signers_of(*keys: Any) -> dict[str, str]:
    texts = [public_pem(key).decode() for key in keys]
    return {key_id_of(read_public(text.encode())): text for text in texts}


PAYLOAD = payload_of(PIN)
OTHER = f"sha256:{'0' * 64}"


@pytest.mark.parametrize("kind", KEYS)
def test_the_key_that_signed_is_found_among_the_signers(kind: str) -> None:
    every = signers_of(*KEYS.values())
    (own,) = signers_of(KEYS[kind])
    assert verify_payload(PIN, PAYLOAD, signed(PAYLOAD, KEYS[kind]), every) == own
    others = {name: text for name, text in every.items() if name != own}
    with pytest.raises(Corrupt, match="no key of `signers` has signed it"):
        verify_payload(PIN, PAYLOAD, signed(PAYLOAD, KEYS[kind]), others)


def _signed(payload: bytes) -> tuple[bytes, str]:
    return payload, signed(payload)


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (lambda: (PAYLOAD + b" ", signed(PAYLOAD)), "no key of `signers` has signed it, or it was changed"),
        (lambda: (payload_of(PIN), signed(payload_of(OTHER))), "no key of `signers` has signed it"),
        (lambda: (PAYLOAD, signed(PAYLOAD)[:-8] + "AAAAAAA="), "no key of `signers` has signed it"),
        (lambda: (PAYLOAD, ""), "no key of `signers` has signed it"),
        (lambda: (PAYLOAD, "a signature"), "its signature is not base64"),
        (lambda: (PAYLOAD, "\u00e9"), "its signature is not base64"),
        (
            lambda: _signed(payload_of(OTHER)),
            f"it signs the manifest {OTHER!r}, and not {PIN}",
        ),
        (lambda: _signed(payload_of(PIN.upper())), "it signs the manifest"),
        (
            lambda: _signed(payload_of(PIN, type="atomic")),
            "expected a payload of type 'cosign cont",
        ),
        (lambda: _signed(payload_of(PIN, image=[PIN])), "not a simple-signing payload that can be read"),
        (lambda: _signed(b"[]"), "not a simple-signing payload that can be read"),
        (lambda: _signed(b"{}"), "not a simple-signing payload that can be read"),
        (lambda: _signed(b"\xff"), "not a simple-signing payload that can be read"),
        (lambda: _signed(b"[" * 10_000), "the JSON is nested too deeply"),
    ],
)
def test_what_was_changed_or_names_another_manifest_is_refused(
    make: Callable[[], tuple[bytes, str]], wanted: str
) -> None:
    payload, signature = make()
    with pytest.raises((Corrupt, Invalid)) as caught:
        verify_payload(PIN, payload, signature, signers_of(ANN))
    assert wanted in caught.value.message


SIGN = "https://sigstore.dev/cosign/sign/v1"


def bundle_of(pin: str, key: Any = ANN, **more: object) -> bytes:
    """A Sigstore bundle as cosign 3 makes it."""
    subject = [{"digest": {"sha256": pin.removeprefix("sha256:")}}]
    statement = {"_type": "https://in-toto.io/Statement/v1", "subject": subject, "predicateType": SIGN, "predicate": {}}
    envelope = json.loads(seal_envelope(json.dumps({**statement, **more}).encode(), key_signer(pem(key))))
    kind = "application/vnd.dev.sigstore.bundle.v0.3+json"
    material = {"publicKey": {"hint": "aGludA=="}, "tlogEntries": []}
    return json.dumps({"mediaType": kind, "verificationMaterial": material, "dsseEnvelope": envelope}).encode()


@pytest.mark.parametrize("kind", KEYS)
def test_the_key_that_signed_a_bundle_is_found_among_the_signers(kind: str) -> None:
    assert [verify_bundle(PIN, bundle_of(PIN, KEYS[kind]), signers_of(*KEYS.values()))] == [*signers_of(KEYS[kind])]


@pytest.mark.parametrize(
    ("bundle", "wanted"),
    [
        (bundle_of(PIN, KEYS["p-384"]), "no key of `signers` has signed it, or it was changed"),
        (bundle_of(PIN).replace(b'"payload": "e', b'"payload": "f'), "no key of `signers` has signed it"),
        (bundle_of(OTHER), f"it signs the manifest '{'0' * 64}', and not {PIN}"),
        (bundle_of(PIN, predicateType="https://slsa.dev/provenance/v1"), "it is an attestation of type 'https://slsa"),
        (bundle_of(PIN, subject=[]), "it signs the manifest '', and not"),
        (bundle_of(PIN, subject=[{}]), "not a statement that can be read"),
        (b'{"messageSignature": {}}', "it is not a Sigstore bundle with a DSSE envelope"),
        (b"[]", "it is not a Sigstore bundle with a DSSE envelope"),
        (b"{", "it is not a Sigstore bundle with a DSSE envelope"),
    ],
)
def test_a_bundle_that_is_not_a_signature_of_the_manifest_is_refused(bundle: bytes, wanted: str) -> None:
    with pytest.raises((Corrupt, Invalid)) as caught:
        verify_bundle(PIN, bundle, signers_of(ANN))
    assert wanted in caught.value.message
