"""A version that was signed keyless passes offline with the trusted root; each change of the bundle is refused."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from syncd.errors import Invalid
from syncd.trust.keyless import read_trusted_root
from syncd.trust.model_signing import verify_signature
from syncd.trust.policy import KeylessAuthority, Mode, TrustEvidence, TrustRule, evaluate

from tests.support.keyless import ISSUER, FakeSigstore, b64
from tests.unit.trust.test_certificates import CHAIN, REAL
from tests.unit.trust.test_model_signing import BUNDLE, FILES, SIGNER

SIGSTORE, OTHER = FakeSigstore(), FakeSigstore()
ANN = SIGSTORE.certificate()
STATEMENT = base64.b64decode(json.loads(BUNDLE)["dsseEnvelope"]["payload"])
SIGNED = SIGSTORE.bundle(STATEMENT, ANN)


def authority(
    of: FakeSigstore = SIGSTORE, issuer: str = ISSUER, identity: str = "ann@models.example"
) -> KeylessAuthority:
    text = json.dumps(of.trusted_root())
    return KeylessAuthority(text, hashlib.sha256(text.encode()).hexdigest(), issuer, (identity,))


HERE = authority()
NAME = f"ann@models.example of {ISSUER} by root {HERE.root}"


def verified(
    bundle: Mapping[str, Any] = SIGNED, by: KeylessAuthority = HERE, files: Mapping[str, bytes] = FILES
) -> tuple[str, list[str]]:
    digests = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    signer, wrong = verify_signature(json.dumps(bundle).encode(), [], digests, (), [by])
    return signer, [f"{path} {reason}" for path, reason in wrong]


def test_what_was_signed_keyless_passes_without_a_network() -> None:
    assert verified() == (NAME, [])


def _entry(bundle: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = bundle["verificationMaterial"]["tlogEntries"][0]
    return found


def _flipped(text: str) -> str:
    data = bytearray(base64.b64decode(text))
    data[-1] ^= 1
    return b64(bytes(data))


def _flip(table: dict[str, Any], key: str) -> None:
    table[key] = _flipped(table[key])


def _checkpoint(bundle: dict[str, Any]) -> None:
    point = _entry(bundle)["inclusionProof"]["checkpoint"]
    point["envelope"] = point["envelope"].replace("models.example - 1", "models.example - 2")


def _certificate(bundle: dict[str, Any]) -> None:
    bundle["verificationMaterial"]["certificate"]["rawBytes"] = b64(SIGSTORE.certificate().der)


def _another_entry(bundle: dict[str, Any]) -> None:
    bundle["verificationMaterial"]["tlogEntries"] = SIGSTORE.bundle(b"{}", ANN)["verificationMaterial"]["tlogEntries"]


CHANGES: Mapping[str, Callable[[dict[str, Any]], object]] = {
    "the payload": lambda b: b["dsseEnvelope"].update(payload=b64(STATEMENT.replace(b"config.json", b"c0nfig.json"))),
    "the signature": lambda b: _flip(b["dsseEnvelope"]["signatures"][0], "sig"),
    "no signature": lambda b: b["dsseEnvelope"].update(signatures=[]),
    "the certificate": _certificate,
    "a byte of the certificate": lambda b: _flip(b["verificationMaterial"]["certificate"], "rawBytes"),
    "no entry of the log": lambda b: b["verificationMaterial"].update(tlogEntries=[]),
    "the entry of another signature": _another_entry,
    "the body of the entry": lambda b: _flip(_entry(b), "canonicalizedBody"),
    "the time": lambda b: _entry(b).update(integratedTime=str(int(_entry(b)["integratedTime"]) + 1)),
    "the promise": lambda b: _flip(_entry(b)["inclusionPromise"], "signedEntryTimestamp"),
    "no promise": lambda b: _entry(b).pop("inclusionPromise"),
    "the root of the proof": lambda b: _flip(_entry(b)["inclusionProof"], "rootHash"),
    "one more hash": lambda b: _entry(b)["inclusionProof"].update(hashes=[b64(bytes(32))]),
    "the checkpoint": _checkpoint,
    "no checkpoint": lambda b: _entry(b)["inclusionProof"].pop("checkpoint"),
    "no proof": lambda b: _entry(b).pop("inclusionProof"),
    "the log's id": lambda b: _flip(_entry(b)["logId"], "keyId"),
    "the type of the bundle": lambda b: b.update(mediaType="application/json"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_each_change_of_the_bundle_is_refused(what: str) -> None:
    bundle = deepcopy(SIGNED)
    CHANGES[what](bundle)
    signer, (wrong,) = verified(bundle)
    assert signer == ""
    assert wrong.startswith(("model.sig its keyless signature is refused: ", "model.sig it is not a keyless bundle"))
    assert "\n" not in wrong


@pytest.mark.parametrize(
    ("bundle", "by", "wanted"),
    [
        (SIGNED, authority(OTHER), "failed to build timestamp certificate chain"),
        (SIGNED, authority(identity="bob@models.example"), "Certificate's SANs do not match bob@models.example"),
        (SIGNED, authority(issuer="https://other.example"), "Certificate's OIDCIssuer does not match"),
        (SIGSTORE.bundle(STATEMENT, ANN, timedelta(hours=1)), HERE, "failed to build timestamp certificate chain"),
        (SIGSTORE.bundle(STATEMENT, ANN, timedelta(hours=-1)), HERE, "failed to build timestamp certificate chain"),
        (
            SIGSTORE.bundle(STATEMENT, SIGSTORE.certificate(log=ec.generate_private_key(ec.SECP256R1()))),
            HERE,
            "failed to verify SCT on signing certificate",
        ),
        (OTHER.bundle(STATEMENT, ANN), HERE, "invalid log entry"),
    ],
    ids=["root", "identity", "issuer", "after its end", "before its time", "log of certificates", "log"],
)
def test_another_root_identity_issuer_or_time_is_refused(
    bundle: Mapping[str, Any], by: KeylessAuthority, wanted: str
) -> None:
    signer, (wrong,) = verified(bundle, by)
    assert signer == ""
    assert f"model.sig its keyless signature is refused: {wanted}" in wrong


def test_files_that_the_statement_does_not_name_are_refused() -> None:
    assert verified(files={**FILES, "evil.py": b"x"})[1] == ["evil.py is not signed"]
    assert verified(files={**FILES, "config.json": b"[]"})[1][0].startswith("config.json has sha256 ")


def test_a_bundle_of_another_kind_is_refused_by_its_kind() -> None:
    digests = {path: hashlib.sha256(data).hexdigest() for path, data in FILES.items()}
    for bundle in (BUNDLE, CHAIN):
        assert verified(json.loads(bundle)) == (
            "", ["model.sig it is not a keyless signature of Sigstore, which `keyless` asks for"],
        )  # fmt: skip
        assert verify_signature(bundle, [SIGNER], digests, [REAL], [HERE])[1] == ()
    _, ((_, reason),) = verify_signature(json.dumps(SIGNED).encode(), [], digests, [REAL])
    assert reason == "it is a keyless signature of Sigstore, and the policy has no `keyless`"


def test_a_trusted_root_that_is_not_one_is_refused() -> None:
    whole = SIGSTORE.trusted_root()
    for text in ("", "[]", "{}", json.dumps({**whole, "tlogs": []}), json.dumps({**whole, "mediaType": "x"})):
        with pytest.raises(Invalid, match="it is not one: "):
            read_trusted_root(text)


def test_the_record_of_a_signer_is_evaluated_anew_by_the_policy_of_now() -> None:
    evidence = TrustEvidence("models", signer=NAME)
    assert evaluate(TrustRule(("*",), Mode.ENFORCE, keyless=[HERE]), evidence) == ()
    for other in (authority(OTHER), authority(issuer="https://other.example"), authority(identity="bob")):
        (found,) = evaluate(TrustRule(("*",), Mode.ENFORCE, keyless=[other]), evidence)
        assert found.reason == "it is not signed with an identity of `keyless`"
