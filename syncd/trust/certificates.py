"""Certificates of signers: the chain from a signing certificate to a configured root, and the identity it names.

Paths are validated by `cryptography`, as RFC 5280 says. Source for what a signing certificate has to be:
github.com/sigstore/model-transparency, the package model-signing 1.1.1, `_signing/sign_certificate.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from syncd.errors import Corrupt, Invalid
from syncd.trust.dsse import PublicKey, read_public
from syncd.trust.policy import SigningAuthority, signer_name

CHAIN_MAX: Final = 8  # certificates of a bundle; real chains have two or three
_SHOWN_MAX: Final = 8
_FULCIO: Final = "1.3.6.1.4.1.57264.1."  # github.com/sigstore/fulcio, docs/oid-info.md: minutes of validity need a log
_SAN = x509.SubjectAlternativeName


def read_roots(pem: bytes) -> dict[str, str]:
    """Root certificates as PEM, by the SHA-256 of each. Raises Invalid: there is none, or one cannot be read."""
    try:
        found = x509.load_pem_x509_certificates(pem)
        are_roots = all(any(_is_authority(extension) for extension in each.extensions) for each in found)
    except (ValueError, UnsupportedAlgorithm, x509.UnsupportedGeneralNameType) as error:
        raise Invalid("no root certificate that can be read: expected certificates as PEM") from error
    if not are_roots:
        raise Invalid("a certificate is not one of an authority: it lacks CA:TRUE")
    return {fingerprint(each): each.public_bytes(serialization.Encoding.PEM).decode() for each in found}


def _is_authority(extension: x509.Extension[x509.ExtensionType]) -> bool:
    return isinstance(extension.value, x509.BasicConstraints) and extension.value.ca


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of a certificate, in hexadecimal."""
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def verify_chain(chain: Sequence[bytes], authorities: Sequence[SigningAuthority]) -> tuple[str, PublicKey]:
    """The signer as by `signer_name` and the key that signs, from certificates (DER), the signing one first.

    The chain has to be valid at the beginning of the signing certificate's own time: a bundle without a log or a
    timestamp does not prove when it was signed.

    Raises:
        Invalid: A certificate cannot be read, or its key is of another kind.
        Corrupt: It leads to no root, may not sign, or names another identity.
    """
    if not 0 < len(chain) <= CHAIN_MAX:
        raise Invalid(f"it has {len(chain)} certificates, expected 1 to {CHAIN_MAX}")
    try:
        leaf, *others = (x509.load_der_x509_certificate(each) for each in chain)
        key, names = _key(leaf), identities(leaf)
        _check_usage(leaf)
    except (ValueError, UnsupportedAlgorithm, x509.UnsupportedGeneralNameType, x509.DuplicateExtension) as error:
        raise Invalid(f"its certificate cannot be read: {error}") from error
    wrong: Corrupt | None = None
    for authority in authorities:
        roots = [x509.load_pem_x509_certificate(pem.encode()) for pem in authority.roots.values()]
        try:
            root = _root(leaf, others, roots)
        except Corrupt as error:
            wrong = wrong or error
            continue
        allowed = next((name for name in names if name in authority.identities), None)
        if allowed is not None:
            return signer_name(allowed, fingerprint(root)), key
        shown = ", ".join(map(repr, names[:_SHOWN_MAX])) or "an empty name"
        wrong = Corrupt(f"its certificate is that of {shown}, and not of an identity in `authorities`")
    raise wrong or Corrupt("it is signed with a certificate, and `authorities` names no root")


def identities(certificate: x509.Certificate) -> tuple[str, ...]:
    """The names of a certificate: e-mail addresses, URIs and host names; without any of these, the common names."""
    try:
        names = certificate.extensions.get_extension_for_class(_SAN).value
    except x509.ExtensionNotFound:
        return tuple(str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME))
    kinds = (x509.RFC822Name, x509.UniformResourceIdentifier, x509.DNSName)
    return tuple(each.value for each in names if isinstance(each, kinds))


def _key(leaf: x509.Certificate) -> PublicKey:
    key = leaf.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return read_public(key.public_bytes(serialization.Encoding.PEM, form))
    kind = "RSA" if isinstance(key, rsa.RSAPublicKey) else type(key).__name__.removesuffix("PublicKey")
    raise Invalid(f"its certificate has a key of {kind}; sign with ECDSA of P-256, P-384 or P-521")


def _check_usage(leaf: x509.Certificate) -> None:
    """As the tool: a digital signature by key usage, or code signing by extended key usage.

    Raises:
        Corrupt: It has neither.
        Invalid: It is a keyless certificate, which counts only with the log's proof of its time.
    """
    if any(each.oid.dotted_string.startswith(_FULCIO) for each in leaf.extensions):
        raise Invalid("its certificate is a keyless one of Sigstore, which counts for `keyless` alone")
    for extension in leaf.extensions:
        if isinstance(extension.value, x509.KeyUsage) and extension.value.digital_signature:
            return
        if isinstance(extension.value, x509.ExtendedKeyUsage) and ExtendedKeyUsageOID.CODE_SIGNING in extension.value:
            return
    raise Corrupt("its certificate may not sign: it has neither the key usage digitalSignature nor codeSigning")


def _root(
    leaf: x509.Certificate, others: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]
) -> x509.Certificate:
    builder = verification.PolicyBuilder().store(verification.Store(list(roots))).time(leaf.not_valid_before_utc)
    verifier = builder.extension_policies(ca_policy=_CA, ee_policy=_LEAF).build_client_verifier()
    try:
        return verifier.verify(leaf, list(others)).chain[-1]
    except (verification.VerificationError, x509.UnsupportedGeneralNameType) as error:
        shown = ", ".join(_subjects(roots))
        raise Corrupt(f"its certificate leads to none of the roots {shown}, or is not valid: {error}") from error


def _subjects(roots: Sequence[x509.Certificate]) -> Iterator[str]:
    for each in roots[:_SHOWN_MAX]:
        yield repr(each.subject.rfc4514_string())


def _may_sign_certificates(_: verification.Policy, certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError(f"{certificate.subject.rfc4514_string()} may not sign certificates")


_ANY: Final = verification.Criticality.AGNOSTIC
# Those of web servers ask for a use in TLS, and for extensions that `openssl req -x509` does not write.
_CA: Final = (
    verification.ExtensionPolicy.webpki_defaults_ca()
    .may_be_present(x509.KeyUsage, _ANY, _may_sign_certificates)
    .may_be_present(x509.SubjectKeyIdentifier, _ANY, None)
    .may_be_present(x509.ExtendedKeyUsage, _ANY, None)
)
_LEAF: Final = (
    verification.ExtensionPolicy.webpki_defaults_ee()
    .may_be_present(_SAN, _ANY, None)
    .may_be_present(x509.AuthorityKeyIdentifier, _ANY, None)
    .may_be_present(x509.ExtendedKeyUsage, _ANY, None)
)
