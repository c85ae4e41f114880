"""Files that `[policy.trust]` names: public keys and root certificates are read once, with the configuration."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest
from syncd.config import ConfigProblems, load
from syncd.trust.certificates import fingerprint
from syncd.trust.policy import KeylessAuthority, SigningAuthority

from tests.support.certificates import IssuedCertificate, issue
from tests.support.keyless import ISSUER, FakeSigstore
from tests.unit.trust.test_model_signing import SAMPLES

ROOT, SECOND = issue("Root", is_ca=True), issue("Second", is_ca=True)
TABLE = """
[policy.trust]
mode = "enforce"
signers = ["{signer}"]

[[policy.trust.authorities]]
roots = "{roots}"
identities = ["ann@models.example", "https://ci.example/models"]
"""


def _configured(place: Path, roots: Path) -> Path:
    path = place / "syncd.toml"
    path.write_text(TABLE.format(signer=SAMPLES / "signer.pub.pem", roots=roots))
    return path


def _by_hash(*certificates: IssuedCertificate) -> dict[str, str]:
    return {fingerprint(each.certificate): each.pem.decode() for each in certificates}


def test_every_root_of_a_file_and_its_identities_are_in_the_rule(tmp_path: Path) -> None:
    roots = tmp_path / "ca.pem"
    roots.write_bytes(ROOT.pem + SECOND.pem)
    trust = load(_configured(tmp_path, roots), {}).policy.trust
    rule = trust and trust.policy.for_model("sdxl")
    assert rule
    assert rule.asks_signature
    assert rule.authorities == (
        SigningAuthority(_by_hash(ROOT, SECOND), ("ann@models.example", "https://ci.example/models")),
    )


def _keyless(place: Path, trusted_root: Path) -> Path:
    path = place / "syncd.toml"
    table = {"trusted_root": str(trusted_root), "issuer": ISSUER, "identities": ["ann@models.example"]}
    listed = ", ".join(f"{key} = {json.dumps(value)}" for key, value in table.items())
    path.write_text(f'[policy.trust]\nmode = "enforce"\nkeyless = [{{ {listed} }}]\n')
    return path


def test_a_trusted_root_is_in_the_rule_with_its_digest(tmp_path: Path) -> None:
    root = tmp_path / "trusted_root.json"
    text = json.dumps(FakeSigstore().trusted_root())
    root.write_text(text)
    trust = load(_keyless(tmp_path, root), {}).policy.trust
    rule = trust and trust.policy.for_model("sdxl")
    assert rule
    assert rule.asks_signature
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert rule.keyless == (KeylessAuthority(text, digest, ISSUER, ("ann@models.example",)),)
    root.write_text("{}")
    with pytest.raises(ConfigProblems, match="a trusted root of Sigstore, as JSON; it is not one: "):
        load(_keyless(tmp_path, root), {})


def test_without_the_extra_the_setting_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "syncd.trust.keyless", raising=False)
    monkeypatch.setitem(sys.modules, "sigstore.errors", None)
    with pytest.raises(ConfigProblems, match=r"pip install 'syncd\[server,sigstore\]'"):
        load(_keyless(tmp_path, tmp_path / "trusted_root.json"), {})


def test_a_file_of_something_else_has_no_roots(tmp_path: Path) -> None:
    path = _configured(tmp_path, SAMPLES / "signer.pub.pem")
    with pytest.raises(ConfigProblems, match="absolute path of root certificates, as PEM; no root certificate"):
        load(path, {})
