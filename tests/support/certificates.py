"""A certificate authority of the tests: roots, intermediates and signing certificates, with what a test changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BEGIN: Final = datetime(2026, 11, 1)  # noqa: DTZ001 -- the builder takes times without a zone as UTC
END: Final = datetime(2036, 11, 1)  # noqa: DTZ001
ANN: Final = (x509.RFC822Name("ann@models.example"),)
_USES: Final = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: Any

    @property
    def der(self) -> bytes:
        """As it stands in a bundle."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        """As it stands in a file of roots."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def issue(
    name: str,
    issuer: IssuedCertificate | None = None,
    *,
    key: Any = None,
    is_ca: bool = False,
    names: Sequence[x509.GeneralName] = (),
    uses: Sequence[str] | None = None,
    code_signing: bool = False,
    more: Sequence[x509.ExtensionType] = (),
    valid: tuple[datetime, datetime] = (BEGIN, END),
    path_length: int | None = None,
) -> IssuedCertificate:
    """A certificate by an issuer, or by itself. `uses`: the key usage, () for no such extension."""
    own = key or ec.generate_private_key(ec.SECP256R1())
    by = issuer.key if issuer else own
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(
        issuer_name=issuer.certificate.subject if issuer else subject,
        subject_name=subject,
        public_key=own.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=valid[0],
        not_valid_after=valid[1],
    )
    builder = builder.add_extension(x509.BasicConstraints(is_ca, path_length), critical=True)
    wanted = (("key_cert_sign",) if is_ca else ("digital_signature",)) if uses is None else uses
    if wanted:
        builder = builder.add_extension(x509.KeyUsage(**{each: each in wanted for each in _USES}), critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if code_signing:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
    for each in more:
        builder = builder.add_extension(each, critical=False)
    aki = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key())
    builder = builder.add_extension(aki, critical=False)
    return IssuedCertificate(builder.sign(by, hashes.SHA256()), own)
