"""Files that `[policy.trust]` names: public keys and root certificates are read once, with the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from syncd.config import ConfigProblems, load
from syncd.trust.certificates import fingerprint
from syncd.trust.policy import SigningAuthority

from tests.support.certificates import IssuedCertificate, issue
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


def test_a_file_of_something_else_has_no_roots(tmp_path: Path) -> None:
    path = _configured(tmp_path, SAMPLES / "signer.pub.pem")
    with pytest.raises(ConfigProblems, match="absolute path of root certificates, as PEM; no root certificate"):
        load(path, {})
