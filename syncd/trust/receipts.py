"""Reading of receipts on a machine without the record: the signature, and that the statement is one of syncd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from syncd.artifact.bounded_json import parse_bounded_bytes
from syncd.artifact.digest import Digest
from syncd.errors import Invalid
from syncd.trust.dsse import PublicKey, open_envelope

STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "urn:syncd:release-receipt:v1"


@dataclass(frozen=True, slots=True)
class VerifiedReceipt:
    """A receipt whose signature was verified. `files` has the SHA-256 of each file by its path below a target."""

    document: Mapping[str, Any]
    release: str
    model: str
    version: str
    digest: Digest
    files: Mapping[str, Digest]
    anchor: tuple[int, str]  # the newest event then, and the hash of its link


def verify_receipt(data: bytes, keys: Sequence[PublicKey]) -> VerifiedReceipt:
    """Verify the signature of a receipt, and read it.

    Raises:
        Invalid: It is not a receipt.
        Corrupt: No signature of these keys verifies.
    """
    payload = open_envelope(data, keys)
    try:
        document = parse_bounded_bytes(payload, "the statement")
        if not isinstance(document, dict) or (document["_type"], document["predicateType"]) != (STATEMENT, PREDICATE):
            raise Invalid("signed, and no receipt of syncd: its type or that of its predicate is another")
        predicate = document["predicate"]
        files = {str(each["name"]): Digest(each["digest"]["sha256"]) for each in document["subject"]}
        version, history = predicate["version"], predicate["history"]
        digest = Digest(version["digest"])
        if digest not in files.values():
            raise Invalid("signed, and no receipt of syncd: its version's digest is no subject")
        anchor = (int(history["event"]), str(history["hash"]))
        names = (str(predicate["release"]["id"]), str(version["model"]), str(version["name"]))
        return VerifiedReceipt(document, *names, digest, files, anchor)
    except (KeyError, TypeError, ValueError) as error:
        raise Invalid(f"signed, and no receipt of syncd: {error!r}") from error
