"""A version that was signed with a certificate passes; each wrong chain, identity and key is refused, with a reason."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from syncd.errors import Corrupt, Invalid
from syncd.trust.certificates import fingerprint, read_roots, verify_chain
from syncd.trust.dsse import EnvelopeSigner, key_signer, seal_envelope
from syncd.trust.model_signing import verify_signature
from syncd.trust.policy import Mode, SigningAuthority, TrustEvidence, TrustRule, evaluate, signer_name

from tests.support.certificates import ANN, BEGIN, END, IssuedCertificate, issue
from tests.unit.trust.test_dsse import KEYS, pem
from tests.unit.trust.test_model_signing import FILES, SAMPLES, SIGNER
from tests.unit.trust.test_model_signing import verified as verified_by_key

CHAIN = (SAMPLES / "chain.sig").read_bytes()
ROOTS = read_roots((SAMPLES / "root.pem").read_bytes())
ANN_NAME = "ann@models.example"
REAL = SigningAuthority(ROOTS, (ANN_NAME,))

ROOT = issue("Root", is_ca=True)
MIDDLE = issue("Middle", ROOT, is_ca=True)
LEAF = issue("Ann", MIDDLE, names=ANN)
OWN = SigningAuthority(read_roots(ROOT.pem), (ANN_NAME,))


def verified(
    bundle: bytes = CHAIN, authority: SigningAuthority = REAL, files: Mapping[str, bytes] = FILES
) -> tuple[str, list[str]]:
    digests = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    signer, wrong = verify_signature(bundle, [], digests, [authority])
    return signer, [f"{path} {reason}" for path, reason in wrong]


def test_what_the_real_tool_signed_with_a_certificate_passes() -> None:
    (root,) = ROOTS
    assert verified() == (f"{ANN_NAME} by root {root}", [])


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    bundle: dict[str, Any] = json.loads(CHAIN)
    change(bundle)
    return json.dumps(bundle).encode()


def _certificates(bundle: dict[str, Any]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = bundle["verificationMaterial"]["x509CertificateChain"]["certificates"]
    return found


def _raw(certificate: IssuedCertificate) -> dict[str, str]:
    return {"rawBytes": base64.b64encode(certificate.der).decode()}


def _flip(bundle: dict[str, Any]) -> None:
    der = bytearray(base64.b64decode(_certificates(bundle)[0]["rawBytes"]))
    der[-1] ^= 1
    _certificates(bundle)[0]["rawBytes"] = base64.b64encode(der).decode()


def _payload(bundle: dict[str, Any]) -> None:
    text = base64.b64decode(bundle["dsseEnvelope"]["payload"]).replace(b"config.json", b"c0nfig.json")
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(text).decode()


def _sign_again(bundle: dict[str, Any]) -> None:
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    bundle["dsseEnvelope"] = json.loads(seal_envelope(payload, key_signer(pem(KEYS["p-256"]))))


NO_ROOT = "model.sig its certificate leads to none of the roots 'CN=Models Root', or is not valid: "
NOT_BY_IT = "model.sig the key of its certificate has not signed it, or it was changed after it was signed"
TAMPERED: Mapping[str, tuple[Mapping[str, bytes], Callable[[dict[str, Any]], object], str]] = {
    "a file was changed": ({**FILES, "config.json": b"[]\n"}, lambda _: None, "config.json has sha256 "),
    "a file was added": ({**FILES, "evil.py": b"x"}, lambda _: None, "evil.py is not signed"),
    "a file was removed": (
        {k: v for k, v in FILES.items() if k != "sub/w.bin"}, lambda _: None, "sub/w.bin is signed, and not in",
    ),
    "the statement was changed": (FILES, _payload, NOT_BY_IT),
    "another key signed": (FILES, _sign_again, NOT_BY_IT),
    "the certificate was changed": (FILES, _flip, NO_ROOT),
    "the intermediate is missing": (FILES, lambda b: _certificates(b).pop(), NO_ROOT),
    "the intermediate is another": (FILES, lambda b: _certificates(b).__setitem__(1, _raw(MIDDLE)), NO_ROOT),
    "the certificate is another": (FILES, lambda b: _certificates(b).__setitem__(0, _raw(LEAF)), NO_ROOT),
    "the certificates changed places": (FILES, lambda b: _certificates(b).reverse(), "model.sig its certificate may"),
    "the chain is endless": (
        FILES, lambda b: _certificates(b).extend([_raw(MIDDLE)] * 7), "model.sig it has 9 certificates, expected 1 to",
    ),
    "the certificate is not one": (
        FILES, lambda b: _certificates(b)[0].update(rawBytes="AAAA"), "model.sig its certificate cannot be read: ",
    ),
    "the certificates were removed": (
        FILES, lambda b: b["verificationMaterial"].pop("x509CertificateChain"), "model.sig it has no chain",
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", TAMPERED)
def test_each_change_is_refused_with_the_file_and_the_reason(how: str) -> None:
    files, change, wanted = TAMPERED[how]
    _, wrong = verified(changed(change), files=files)
    assert wrong
    assert wrong[0].startswith(wanted)


def test_another_identity_or_root_has_not_signed() -> None:
    other = SigningAuthority(ROOTS, ("bob@models.example",))
    reason = f"model.sig its certificate is that of {ANN_NAME!r}, and not of an identity in `authorities`"
    assert verified(authority=other) == ("", [reason])
    signer, (wrong,) = verified(authority=OWN)
    assert (signer, wrong.startswith("model.sig its certificate leads to none of the roots 'CN=Root'")) == ("", True)


def test_a_key_of_signers_counts_beside_authorities_and_the_other_way() -> None:
    digests = {path: hashlib.sha256(data).hexdigest() for path, data in FILES.items()}
    by_key, _ = verified_by_key()
    assert verify_signature(CHAIN, [SIGNER], digests, [REAL])[0].startswith(ANN_NAME)
    assert verify_signature(FILES["model.sig"], [SIGNER], digests, [REAL]) == (by_key, ())
    _, wrong = verified_by_key(bundle=CHAIN)
    assert wrong == ["model.sig no key of `signers` has signed it, or it was changed after it was signed"]


def signer_of(*chain: IssuedCertificate, root: IssuedCertificate = ROOT, identity: str = ANN_NAME) -> str:
    return verify_chain([each.der for each in chain], [SigningAuthority(read_roots(root.pem), (identity,))])[0]


def _years(begin: int, end: int) -> tuple[datetime, datetime]:
    return datetime(begin, 1, 1), datetime(end, 1, 1)  # noqa: DTZ001 -- as UTC


LIKE_OPENSSL = issue("Plain", is_ca=True, uses=())
FULCIO = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8"), b"\x0c\x01x")


@pytest.mark.parametrize(
    ("chain", "root", "identity"),
    [
        ((issue("Ann", ROOT, names=ANN),), ROOT, ANN_NAME),
        ((issue("Ann", ROOT),), ROOT, "Ann"),
        ((issue("Ann", ROOT, names=[x509.UniformResourceIdentifier("https://ci/ann")]),), ROOT, "https://ci/ann"),
        ((issue("Ann", ROOT, names=ANN, uses=(), code_signing=True),), ROOT, ANN_NAME),
        ((issue("Ann", LIKE_OPENSSL, names=ANN),), LIKE_OPENSSL, ANN_NAME),
        ((issue("Ann", MIDDLE, names=ANN, key=ec.generate_private_key(ec.SECP384R1())), MIDDLE), ROOT, ANN_NAME),
        ((issue("Ann", ROOT, names=ANN, valid=(BEGIN, datetime(2026, 11, 2))),), ROOT, ANN_NAME),  # noqa: DTZ001
    ],
    ids=["email", "common name", "uri", "code signing", "root by openssl", "p-384", "ended since"],
)
def test_a_chain_to_a_root_with_the_identity_signs(
    chain: Sequence[IssuedCertificate], root: IssuedCertificate, identity: str
) -> None:
    found = signer_of(*chain, root=root, identity=identity)
    assert found == signer_name(identity, fingerprint(root.certificate))


SHORT = issue("Short", ROOT, is_ca=True, path_length=0)
UNDER = issue("Under", SHORT, is_ca=True)
OLD = issue("Old", is_ca=True, valid=_years(2020, 2022))
NO_CA = issue("No CA", ROOT, names=ANN)
NO_SIGN = issue("No sign", ROOT, is_ca=True, uses=("digital_signature",))
ENDS_HERE = "leads to none of the roots"


@pytest.mark.parametrize(
    ("chain", "root", "wanted"),
    [
        ((issue("Ann", names=ANN),), ROOT, ENDS_HERE),
        ((issue("Ann", OLD, names=ANN),), OLD, ENDS_HERE),
        ((issue("Ann", ROOT, names=ANN, valid=(datetime(2020, 1, 1), END)),), ROOT, ENDS_HERE),  # noqa: DTZ001
        ((issue("Ann", NO_CA, names=ANN), NO_CA), ROOT, ENDS_HERE),
        ((issue("Ann", NO_SIGN, names=ANN), NO_SIGN), ROOT, ENDS_HERE),
        ((issue("Ann", UNDER, names=ANN), UNDER, SHORT), ROOT, ENDS_HERE),
        ((issue("Ann", ROOT, names=ANN, is_ca=True, uses=("digital_signature",)),), ROOT, ENDS_HERE),
        ((issue("Ann", ROOT, names=ANN, uses=("key_agreement",)),), ROOT, "may not sign: it has neither"),
        ((issue("Ann", ROOT, names=ANN, uses=()),), ROOT, "may not sign: it has neither"),
        ((issue("Ann", ROOT, names=[x509.DNSName("models.example")]),), ROOT, "is that of 'models.example', and not"),
        ((issue(ANN_NAME, ROOT, names=[x509.DNSName("a.example")]),), ROOT, "is that of 'a.example', and not"),
        ((issue("Ann", ROOT, names=ANN, key=rsa.generate_private_key(65537, 2048)),), ROOT, "has a key of RSA; sign"),
        ((issue("Ann", ROOT, names=ANN, key=ec.generate_private_key(ec.SECP256K1())),), ROOT, "of another kind"),
        ((issue("Ann", ROOT, names=ANN, more=[FULCIO]),), ROOT, "its certificate is a keyless one of Sigstore"),
        ((), ROOT, "it has 0 certificates"),
    ],
    ids=["by itself", "root of old", "before its root", "not a CA", "CA that may not sign", "too deep", "a CA signs",
         "usage", "no usage", "another name", "common name beside others", "rsa", "curve", "keyless", "empty"],
)  # fmt: skip
def test_a_chain_that_is_not_one_is_refused(
    chain: Sequence[IssuedCertificate], root: IssuedCertificate, wanted: str
) -> None:
    with pytest.raises((Corrupt, Invalid), match=wanted):
        signer_of(*chain, root=root)


def test_a_file_without_certificates_has_no_roots() -> None:
    for data in (b"", b"x", pem(KEYS["p-256"])):
        with pytest.raises(Invalid, match="no root certificate that can be read"):
            read_roots(data)
    with pytest.raises(Invalid, match="a certificate is not one of an authority"):
        read_roots(ROOT.pem + LEAF.pem)


def test_the_record_of_a_signer_is_evaluated_anew_by_the_policy_of_now() -> None:
    (root,) = ROOTS
    evidence = TrustEvidence("models", signer=signer_name(ANN_NAME, root))
    assert evaluate(TrustRule(("*",), Mode.ENFORCE, authorities=[REAL]), evidence) == ()
    for other in (SigningAuthority(ROOTS, ("bob@models.example",)), OWN):
        (found,) = evaluate(TrustRule(("*",), Mode.ENFORCE, authorities=[other]), evidence)
        assert found.reason == "it is not signed with a certificate of `authorities`"
    both = TrustRule(("*",), Mode.ENFORCE, signers={"k": SIGNER}, authorities=[OWN])
    (found,) = evaluate(both, evidence)
    assert found.reason == "it is not signed with a key of `signers` or a certificate of `authorities`"
    assert both.digest != TrustRule(("*",), Mode.ENFORCE, signers={"k": SIGNER}).digest


def test_the_signer_of_an_envelope_is_the_key_of_the_certificate() -> None:
    bundle = json.loads(CHAIN)
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    sign = EnvelopeSigner(lambda data: LEAF.key.sign(data, ec.ECDSA(hashes.SHA256())), LEAF.key.public_key())
    bundle["dsseEnvelope"] = json.loads(seal_envelope(payload, sign))
    bundle["verificationMaterial"]["x509CertificateChain"]["certificates"] = [_raw(LEAF), _raw(MIDDLE)]
    name = signer_name(ANN_NAME, fingerprint(ROOT.certificate))
    assert verified(json.dumps(bundle).encode(), OWN) == (name, [])
