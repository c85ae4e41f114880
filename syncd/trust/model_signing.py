"""Signatures of OpenSSF model signing: a bundle beside the model that names each file with its SHA-256.

Source: github.com/sigstore/model-transparency, the package model-signing 1.1.1, `_signing/signing.py`. The digests in
the signature are compared with those of the manifest, so that no byte is hashed a second time. What is signed in
shards, by another hash, or by the releases before 1.0, is refused by name.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from syncd.artifact.bounded_json import parse_bounded_bytes
from syncd.errors import Corrupt, Invalid
from syncd.trust.certificates import verify_chain
from syncd.trust.dsse import PublicKey, key_id_of, open_envelope, read_public
from syncd.trust.policy import KeylessAuthority, SigningAuthority

SIGNATURE: Final = "model.sig"
BUNDLE_BYTES_MAX: Final = 64 << 20
PREDICATE: Final = "https://model_signing/signature/v1.0"
_GIT: Final = frozenset({".gitattributes", ".gitignore"})  # never signed, and read by no loader
_GIT_FOLDERS: Final = (".git/", ".github/")


def verify_signature(
    bundle: bytes,
    signers: Sequence[str],
    files: Mapping[str, str],
    authorities: Sequence[SigningAuthority] = (),
    keyless: Sequence[KeylessAuthority] = (),
) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Who signed, and what is wrong, by path.

    The signer is the id of one of the keys `signers` (PEM), or an identity of `authorities` or `keyless` as by
    `signer_name`; "" if none of these signed.

    `files` are the digests of the version's files, in hexadecimal. Every one has to be signed, but for the signature
    itself and git's own files at the top.
    """
    try:
        found = _parsed(bundle)
        if keyless and _is_keyless(found):
            from syncd.trust.keyless import verify_keyless  # noqa: PLC0415 -- an extra, only where it is asked for

            signer, payload = verify_keyless(bundle, keyless)
        else:
            signer, payload = _opened(found, [read_public(pem.encode()) for pem in signers], authorities)
        signed = _resources(payload)
    except (Invalid, Corrupt) as error:
        return "", ((SIGNATURE, error.message),)
    return signer, tuple(_differences(signed, files))


def _parsed(bundle: bytes) -> Mapping[str, Any]:
    try:
        found = parse_bounded_bytes(bundle, "the bundle")
    except ValueError as error:
        raise Invalid("it is not a Sigstore bundle: it is not JSON") from error
    if not isinstance(found, dict) or not isinstance(found.get("dsseEnvelope"), dict):
        raise Invalid("it is not a Sigstore bundle with a DSSE envelope")
    return found


def _is_keyless(bundle: Mapping[str, Any]) -> bool:
    """Whether a bundle has a certificate of minutes with the entry of a log; other bundles have neither."""
    material = bundle.get("verificationMaterial")
    return isinstance(material, dict) and ("certificate" in material or bool(material.get("tlogEntries")))


def _opened(
    found: Mapping[str, Any], keys: Sequence[PublicKey], authorities: Sequence[SigningAuthority]
) -> tuple[str, bytes]:
    sealed = json.dumps(found["dsseEnvelope"]).encode()
    for key in keys:
        try:
            return key_id_of(key), open_envelope(sealed, [key])
        except Corrupt:
            continue
    chain = _chain(found) if authorities else []
    if not authorities and not keys:
        raise Invalid("it is not a keyless signature of Sigstore, which `keyless` asks for")
    if not authorities or (keys and not chain):
        raise Corrupt("no key of `signers` has signed it, or it was changed after it was signed")
    if not chain:
        raise Corrupt("it has no chain of certificates, which `authorities` asks for")
    signer, key = verify_chain(chain, authorities)
    try:
        return signer, open_envelope(sealed, [key])
    except Corrupt as error:
        raise Corrupt("the key of its certificate has not signed it, or it was changed after it was signed") from error


def _chain(bundle: Mapping[str, Any]) -> list[bytes]:
    """The certificates of a bundle as DER, the signing one first; none if it has none that can be read."""
    if _is_keyless(bundle):
        raise Invalid("it is a keyless signature of Sigstore, and the policy has no `keyless`")
    try:
        chain = bundle["verificationMaterial"]["x509CertificateChain"]["certificates"]
        return [base64.b64decode(each["rawBytes"], validate=True) for each in chain]
    except (KeyError, TypeError, ValueError):
        return []


def _resources(payload: bytes) -> Mapping[str, str]:
    try:
        found: Any = parse_bounded_bytes(payload, "the statement")
        if found["predicateType"] != PREDICATE:
            raise Invalid(f"expected the predicate {PREDICATE}, got {found['predicateType']!r}")
        serialization, resources = found["predicate"]["serialization"], found["predicate"]["resources"]
        if serialization["method"] != "files" or serialization["hash_type"] != "sha256":
            kind = f"{serialization['method']} with {serialization['hash_type']}"
            raise Invalid(f"it is signed by {kind}; sign it by files with sha256, the tool's defaults")
        root = hashlib.sha256()
        signed: dict[str, str] = {}
        for each in resources:
            name, digest = str(each["name"]), str(each["digest"]).lower()
            if each["algorithm"] != "sha256" or name in signed:
                raise Invalid(f"it names {name[:200]!r} twice, or by another hash")
            root.update(bytes.fromhex(digest))
            signed[name] = digest
        (subject,) = found["subject"]
        if root.hexdigest() != subject["digest"]["sha256"]:
            raise Invalid("its files are not those of its own digest")
    except (KeyError, TypeError, ValueError) as error:
        raise Invalid("it is signed, and no statement of model signing that can be read") from error
    return signed


def _differences(signed: Mapping[str, str], files: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for path, digest in sorted(signed.items()):
        found = files.get(path)
        if found is None:
            yield path, "is signed, and not in the version"
        elif found != digest:
            yield path, f"has sha256 {found[:12]}…, the signature says {digest[:12]}…"
    for path in sorted(files.keys() - signed.keys()):
        if path != SIGNATURE and path not in _GIT and not path.startswith(_GIT_FOLDERS):
            yield path, "is not signed"
