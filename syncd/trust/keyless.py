"""Keyless signatures of Sigstore, verified without a network by `sigstore` and a configured trusted root.

Source: github.com/sigstore/sigstore-python 4.5.1, `sigstore/verify/verifier.py`: it validates the certificate at the
time that the log attests, its entry in the log of certificates, the log's proof of inclusion with a signed checkpoint,
the promise of inclusion, and that the entry is that of this signature.
"""

from __future__ import annotations

from collections.abc import Sequence

from sigstore.errors import Error as SigstoreError
from sigstore.models import Bundle, TrustedRoot
from sigstore.verify import Verifier, policy
from sigstore_models.trustroot.v1 import TrustedRoot as TrustedRootMessage

from syncd.errors import Corrupt, Invalid
from syncd.trust.dsse import IN_TOTO
from syncd.trust.policy import KeylessAuthority, keyless_name, signer_name


def read_trusted_root(text: str) -> None:
    """Read a trusted root (JSON). Raises Invalid: it is not one that can be read."""
    _verifier(text)


def verify_keyless(bundle: bytes, authorities: Sequence[KeylessAuthority]) -> tuple[str, bytes]:
    """The signer of a bundle as by `signer_name`, and the payload that was signed.

    Raises:
        Invalid: The bundle cannot be read.
        Corrupt: No trusted root verifies it, or its certificate is for another identity or issuer.
    """
    try:
        found = Bundle.from_json(bundle)
    except (SigstoreError, ValueError, TypeError, KeyError) as error:
        raise Invalid(f"it is not a keyless bundle of Sigstore that can be read: {_line(error)}") from error
    wrong = "`keyless` names no identity"
    for authority in authorities:
        verifier = _verifier(authority.trusted_root)
        for identity in authority.identities:
            asked = policy.Identity(identity=identity, issuer=authority.issuer)
            try:
                kind, payload = verifier.verify_dsse(found, asked)
            except (SigstoreError, ValueError, TypeError, KeyError) as error:
                wrong = _line(error)
                continue
            if kind != IN_TOTO:
                raise Invalid(f"expected an envelope of {IN_TOTO!r}, got {kind!r}")
            return signer_name(keyless_name(identity, authority.issuer), authority.root), payload
    raise Corrupt(f"its keyless signature is refused: {wrong}")


def _verifier(text: str) -> Verifier:
    try:
        root = TrustedRoot(TrustedRootMessage.from_json(text))
        root.get_fulcio_certs()
        return Verifier(trusted_root=root)
    except (SigstoreError, ValueError, TypeError, KeyError) as error:
        raise Invalid(f"it is not one: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
