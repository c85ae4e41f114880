"""Envelopes: what is signed is read, and nothing else."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from syncd.errors import Corrupt, Failed, Invalid, Unavailable
from syncd.trust.dsse import command_signer, key_signer, open_envelope, pae, read_public, seal_envelope

PAYLOAD = b'{"hello":"world"}'


def pem(key: Any) -> bytes:
    kind, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    found: bytes = key.private_bytes(kind, form, serialization.NoEncryption())
    return found


def public_pem(key: Any) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    found: bytes = key.public_key().public_bytes(serialization.Encoding.PEM, form)
    return found


KEY = ed25519.Ed25519PrivateKey.generate()
KEYS: Mapping[str, Any] = {
    "ed25519": KEY,
    "p-256": ec.generate_private_key(ec.SECP256R1()),
    "p-384": ec.generate_private_key(ec.SECP384R1()),
    "p-521": ec.generate_private_key(ec.SECP521R1()),
}
SEALED = seal_envelope(PAYLOAD, key_signer(pem(KEY)))


def test_the_signed_bytes_are_those_of_the_specification() -> None:
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@pytest.mark.parametrize("kind", KEYS)
def test_what_a_key_signed_is_read_with_its_public_key_alone(kind: str) -> None:
    sealed = seal_envelope(PAYLOAD, key_signer(pem(KEYS[kind])))
    for other in KEYS:
        keys = [read_public(public_pem(KEYS[other]))]
        if other == kind:
            assert open_envelope(sealed, keys) == PAYLOAD
        else:
            with pytest.raises(Corrupt, match="no signature verifies"):
                open_envelope(sealed, keys)
    with pytest.raises(Corrupt):
        open_envelope(sealed, [])


def _with(**changes: object) -> bytes:
    return json.dumps(json.loads(SEALED) | changes).encode()


def _signed(**changes: object) -> bytes:
    (signature,) = json.loads(SEALED)["signatures"]
    return _with(signatures=[signature | changes])


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (_with(payload=base64.b64encode(PAYLOAD + b" ").decode()), Corrupt),
        (_signed(sig=base64.b64encode(b"\0" * 64).decode()), Corrupt),
        (_signed(sig="%"), Corrupt),
        (_signed(sig=7), Corrupt),
        (_with(payloadType="text/plain"), Invalid),
        (_with(payload=7), Invalid),
        (_with(signatures=[]), Invalid),
        (_with(signatures=None), Invalid),
        (_with(signatures=[{}] * 17), Invalid),
        (_with(signatures=["x"]), Corrupt),
        (b"[]", Invalid),
        (b"{", Invalid),
        (b"\xff", Invalid),
        (b"[" * 100_000, Invalid),
    ],
)
def test_what_was_changed_or_is_none_is_refused(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        open_envelope(data, [key_signer(pem(KEY)).public])


def test_the_name_of_a_key_decides_nothing() -> None:
    assert open_envelope(_signed(keyid="another"), [key_signer(pem(KEY)).public]) == PAYLOAD


OTHER_KINDS = [
    rsa.generate_private_key(65537, 2048),
    ec.generate_private_key(ec.SECP256K1()),
    ec.generate_private_key(ec.BrainpoolP384R1()),
]


@pytest.mark.parametrize("key", OTHER_KINDS, ids=["rsa", "secp256k1", "brainpool"])
def test_a_public_key_of_another_kind_or_curve_is_refused(key: Any) -> None:
    with pytest.raises(Invalid, match="a public key of another kind: expected an Ed25519 key or an ECDSA key of P-256"):
        read_public(public_pem(key))


@pytest.mark.parametrize("read", [key_signer, read_public])
@pytest.mark.parametrize("data", [b"", b"no key", *map(pem, OTHER_KINDS)])
def test_what_is_no_key_of_a_known_kind_is_refused_and_not_shown(read: Callable[[bytes], object], data: bytes) -> None:
    with pytest.raises(Invalid, match="expected an Ed25519 key or an ECDSA key") as caught:
        read(data)
    assert "BEGIN" not in str(caught.value)


def _program(folder: Path, body: str) -> str:
    file = folder / "signer"
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return str(file)


def test_a_program_signs_and_its_signature_is_verified_before_it_is_given_out(tmp_path: Path) -> None:
    key = KEYS["p-256"]
    (tmp_path / "key.pem").write_bytes(pem(key))
    program = _program(tmp_path, f"openssl dgst -sha256 -sign {tmp_path}/key.pem | base64 -w0")
    sealed = seal_envelope(PAYLOAD, command_signer([program], key.public_key()))
    assert open_envelope(sealed, [key.public_key()]) == PAYLOAD
    with pytest.raises(Failed, match=r"not one of `receipts\.public_key`"):
        seal_envelope(PAYLOAD, command_signer([program], KEY.public_key()))


@pytest.mark.parametrize(
    ("body", "error"),
    [("echo no; exit 3", Failed), ("echo %%%", Failed), ("cat >/dev/null; echo refused >&2; exit 1", Failed)],
)
def test_a_program_that_fails_is_said_to(tmp_path: Path, body: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        seal_envelope(PAYLOAD, command_signer([_program(tmp_path, body)], KEY.public_key()))


def test_a_program_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        seal_envelope(PAYLOAD, command_signer([str(tmp_path / "nothing")], KEY.public_key()))


def test_an_ecdsa_signature_is_over_the_hash_of_the_curve() -> None:
    key = KEYS["p-384"]
    (signature,) = json.loads(seal_envelope(PAYLOAD, key_signer(pem(key))))["signatures"]
    data = pae("application/vnd.in-toto+json", PAYLOAD)
    key.public_key().verify(base64.b64decode(signature["sig"]), data, ec.ECDSA(hashes.SHA384()))
