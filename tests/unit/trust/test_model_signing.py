"""A version that the real tool signed passes; each change of it is refused, with the file and the reason."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from syncd.trust.dsse import key_id_of, key_signer, read_public, seal_envelope
from syncd.trust.model_signing import SIGNATURE, verify_signature

from tests.unit.trust.test_dsse import KEYS, pem, public_pem

SAMPLES = Path(__file__).parent / "samples"
SIGNER = (SAMPLES / "signer.pub.pem").read_text()
BUNDLE = (SAMPLES / "model" / SIGNATURE).read_bytes()
FILES: Mapping[str, bytes] = {
    path.relative_to(SAMPLES / "model").as_posix(): path.read_bytes()
    for path in (SAMPLES / "model").rglob("*")
    if path.is_file()
}
OTHER = KEYS["p-256"]


def verified(files: Mapping[str, bytes] = FILES, bundle: bytes = BUNDLE, signer: str = SIGNER) -> tuple[str, list[str]]:
    digests = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    key, wrong = verify_signature(bundle, [signer], digests)
    return key, [f"{path} {reason}" for path, reason in wrong]


def test_what_the_real_tool_signed_passes() -> None:
    assert verified() == (key_id_of(read_public(SIGNER.encode())), [])
    assert set(FILES) == {".gitattributes", "config.json", "model.sig", "sub/w.bin"}


def changed(change: Callable[[dict[str, Any]], None]) -> bytes:
    bundle = json.loads(BUNDLE)
    change(bundle)
    return json.dumps(bundle).encode()


def _payload(bundle: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    return found


def resigned(change: Callable[[dict[str, Any]], None]) -> bytes:
    """Another statement, signed by a key that is trusted: what a faulty tool would write."""
    bundle = json.loads(BUNDLE)
    statement = _payload(bundle)
    change(statement)
    bundle["dsseEnvelope"] = json.loads(seal_envelope(json.dumps(statement).encode(), key_signer(pem(OTHER))))
    return json.dumps(bundle).encode()


def _set_digest(bundle: dict[str, Any]) -> None:
    statement = _payload(bundle)
    statement["predicate"]["resources"][0]["digest"] = "0" * 64
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()


NO_KEY = "model.sig no key of `signers` has signed it, or it was changed after it was signed"
TAMPERED: Mapping[str, tuple[Mapping[str, bytes], bytes, str]] = {
    "a file was changed": ({**FILES, "config.json": b"[]\n"}, BUNDLE, "config.json has sha256 "),
    "weights were changed": ({**FILES, "sub/w.bin": b"x"}, BUNDLE, "sub/w.bin has sha256 "),
    "a file was added": ({**FILES, "evil.py": b"x"}, BUNDLE, "evil.py is not signed"),
    "a file was added where git's are": ({**FILES, "sub/.gitignore": b"x"}, BUNDLE, "sub/.gitignore is not signed"),
    "a second signature was added": ({**FILES, "sub/model.sig": b"x"}, BUNDLE, "sub/model.sig is not signed"),
    "a file was removed": (
        {k: v for k, v in FILES.items() if k != "sub/w.bin"}, BUNDLE, "sub/w.bin is signed, and not in the version",
    ),
    "a file was renamed": (
        {("sub/v.bin" if k == "sub/w.bin" else k): v for k, v in FILES.items()}, BUNDLE, "sub/w.bin is signed, and not",
    ),
    "two files changed places": (
        {**FILES, "config.json": FILES["sub/w.bin"], "sub/w.bin": FILES["config.json"]}, BUNDLE, "config.json has",
    ),
    "a digest in the signature was changed": (FILES, changed(_set_digest), NO_KEY),
    "the signature was changed": (
        FILES, changed(lambda b: b["dsseEnvelope"]["signatures"][0].update(sig="AAAA")), NO_KEY,
    ),
    "the signature was removed": (FILES, changed(lambda b: b["dsseEnvelope"].update(signatures=[])), "model.sig no"),
    "the bundle is cut off": (FILES, BUNDLE[:-5], "model.sig it is not a Sigstore bundle: it is not JSON"),
    "the bundle has a message signature": (FILES, b'{"messageSignature": {}}', "model.sig it is not a Sigstore"),
    "the bundle is a list": (FILES, b"[]", "model.sig it is not a Sigstore bundle with"),
}  # fmt: skip


@pytest.mark.parametrize("how", TAMPERED)
def test_each_change_is_refused_with_the_file_and_the_reason(how: str) -> None:
    files, bundle, wanted = TAMPERED[how]
    _, wrong = verified(files, bundle)
    assert wrong
    assert wrong[0].startswith(wanted)


def test_another_key_is_not_the_signers() -> None:
    assert verified(signer=public_pem(OTHER).decode()) == ("", [NO_KEY])


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda s: s.update(predicateType="x"), "expected the predicate"),
        (lambda s: s["predicate"]["serialization"].update(method="shards"), "it is signed by shards with sha256"),
        (lambda s: s["predicate"]["serialization"].update(hash_type="blake2b"), "it is signed by files with blake2b"),
        (lambda s: s["predicate"]["resources"].append(s["predicate"]["resources"][0]), "it names 'config.json' twice"),
        (lambda s: s["predicate"]["resources"].pop(), "its files are not those of its own digest"),
        (lambda s: s["subject"].append(s["subject"][0]), "it is signed, and no statement of model signing"),
        (lambda s: s.pop("predicate"), "it is signed, and no statement of model signing"),
    ],
)
def test_a_statement_that_is_not_as_the_tool_writes_it_is_refused(
    change: Callable[[dict[str, Any]], None], wanted: str
) -> None:
    key, wrong = verified(bundle=resigned(change), signer=public_pem(OTHER).decode())
    assert key == ""
    assert wrong[0].startswith(f"model.sig {wanted}")


def test_the_signature_of_an_empty_folder_signs_no_file() -> None:
    def empty(statement: dict[str, Any]) -> None:
        statement["predicate"]["resources"] = []
        statement["subject"][0]["digest"]["sha256"] = hashlib.sha256().hexdigest()

    _, wrong = verified(bundle=resigned(empty), signer=public_pem(OTHER).decode())
    assert wrong == ["config.json is not signed", "sub/w.bin is not signed"]
