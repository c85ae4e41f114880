"""A Sigstore of the tests: authority, logs of certificates and of signatures, and the trusted root that names them."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from datetime import datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from syncd.trust.dsse import IN_TOTO, pae

from tests.support.certificates import ANN, BEGIN, IssuedCertificate, issue

ISSUER: Final = "https://accounts.models.example"
_DER, _PEM = serialization.Encoding.DER, serialization.Encoding.PEM
_SPKI: Final = serialization.PublicFormat.SubjectPublicKeyInfo
_SCTS: Final = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_ISSUER_V1: Final = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_ISSUER_V2: Final = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_MINUTES: Final = timedelta(minutes=10)


def b64(data: bytes) -> str:
    """Base64 as in JSON."""
    return base64.b64encode(data).decode()


def _spki(key: Any) -> bytes:
    found: bytes = key.public_key().public_bytes(_DER, _SPKI)
    return found


def _log_id(key: Any) -> bytes:
    return hashlib.sha256(_spki(key)).digest()


def _signed(key: Any, data: bytes) -> bytes:
    found: bytes = key.sign(data, ec.ECDSA(hashes.SHA256()))
    return found


class FakeSigstore:
    """An authority whose certificates are valid for minutes, and its two logs."""

    def __init__(self) -> None:
        self.authority = issue("Fulcio", is_ca=True)
        self.certificates_log = ec.generate_private_key(ec.SECP256R1())
        self.signatures_log = ec.generate_private_key(ec.SECP256R1())

    def trusted_root(self) -> dict[str, Any]:
        """The document that a verifier is configured with."""
        since = {"start": "2026-01-01T00:00:00Z"}

        def log(key: Any, url: str) -> dict[str, Any]:
            public = {"rawBytes": b64(_spki(key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": since}
            return {"baseUrl": url, "hashAlgorithm": "SHA2_256", "publicKey": public,
                    "logId": {"keyId": b64(_log_id(key))}}  # fmt: skip

        return {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(self.signatures_log, "https://rekor.models.example")],
            "ctlogs": [log(self.certificates_log, "https://ct.models.example")],
            "certificateAuthorities": [
                {
                    "subject": {"organization": "models.example", "commonName": "Fulcio"},
                    "uri": "https://fulcio.models.example",
                    "certChain": {"certificates": [{"rawBytes": b64(self.authority.der)}]},
                    "validFor": since,
                }
            ],
        }

    def certificate(self, *, issuer: str = ISSUER, log: Any = None) -> IssuedCertificate:
        """A signing certificate for Ann, with the timestamp of the log of certificates in it."""
        key = ec.generate_private_key(ec.SECP256R1())
        text = issuer.encode()
        builder = (
            x509.CertificateBuilder(
                issuer_name=self.authority.certificate.subject,
                subject_name=x509.Name([]),
                public_key=key.public_key(),
                serial_number=x509.random_serial_number(),
                not_valid_before=BEGIN,
                not_valid_after=BEGIN + _MINUTES,
            )
            .add_extension(x509.KeyUsage(True, *[False] * 8), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.SubjectAlternativeName(ANN), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority.key.public_key()), critical=False
            )
            .add_extension(x509.UnrecognizedExtension(_ISSUER_V1, text), critical=False)
            .add_extension(x509.UnrecognizedExtension(_ISSUER_V2, b"\x0c" + bytes([len(text)]) + text), critical=False)
        )
        before = builder.sign(self.authority.key, hashes.SHA256()).tbs_certificate_bytes
        scts = self._timestamp(log or self.certificates_log, before)
        builder = builder.add_extension(x509.UnrecognizedExtension(_SCTS, scts), critical=False)
        return IssuedCertificate(builder.sign(self.authority.key, hashes.SHA256()), key)

    def _timestamp(self, log: Any, certificate: bytes) -> bytes:
        """A list of one signed certificate timestamp. Source: RFC 6962, section 3.2."""
        at_ms = _seconds(BEGIN) * 1000
        size = len(certificate).to_bytes(3, "big")
        entry = struct.pack(">BBQH", 0, 0, at_ms, 1) + hashlib.sha256(_spki(self.authority.key)).digest()
        signature = _signed(log, entry + size + certificate + b"\0\0")
        sct = (
            b"\0" + _log_id(log) + struct.pack(">QH", at_ms, 0) + struct.pack(">BBH", 4, 3, len(signature)) + signature
        )
        listed = struct.pack(">HH", len(sct) + 2, len(sct)) + sct
        return b"\x04" + (bytes([len(listed)]) if len(listed) < 128 else b"\x81" + bytes([len(listed)])) + listed

    def bundle(
        self, payload: bytes, signer: IssuedCertificate, after: timedelta = timedelta(minutes=1)
    ) -> dict[str, Any]:
        """A bundle over a statement, logged some time after the certificate began."""
        signature = _signed(signer.key, pae(IN_TOTO, payload))
        envelope = {"payload": b64(payload), "payloadType": IN_TOTO, "signatures": [{"sig": b64(signature)}]}
        return {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": {"rawBytes": b64(signer.der)},
                "tlogEntries": [self._entry(payload, signature, signer, _seconds(BEGIN + after))],
            },
            "dsseEnvelope": envelope,
        }

    def _entry(self, payload: bytes, signature: bytes, signer: IssuedCertificate, at_s: int) -> dict[str, Any]:
        body = {
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": {"algorithm": "sha256", "value": hashlib.sha256(b"envelope").hexdigest()},
                "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
                "signatures": [{"signature": b64(signature), "verifier": b64(signer.pem)}],
            },
        }
        data, log = canonical(body), self.signatures_log
        root = hashlib.sha256(b"\0" + data).digest()  # a log of one entry
        note = f"rekor.models.example - 1\n1\n{b64(root)}\n"
        mark = b64(_log_id(log)[:4] + _signed(log, note.encode()))
        promise = {"body": b64(data), "integratedTime": at_s, "logID": _log_id(log).hex(), "logIndex": 0}
        return {
            "logIndex": "0",
            "logId": {"keyId": b64(_log_id(log))},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(at_s),
            "inclusionPromise": {"signedEntryTimestamp": b64(_signed(log, canonical(promise)))},
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": b64(root),
                "treeSize": "1",
                "hashes": [],
                "checkpoint": {"envelope": f"{note}\n— rekor.models.example {mark}\n"},
            },
            "canonicalizedBody": b64(data),
        }


def canonical(value: object) -> bytes:
    """JSON as RFC 8785 has it, for texts and whole numbers."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _seconds(at: datetime) -> int:
    return int((at - datetime(1970, 1, 1)).total_seconds())  # noqa: DTZ001 -- both are UTC
