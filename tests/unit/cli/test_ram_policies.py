"""RAM policies of a configuration: by credentials, by region, below prefixes only."""

from __future__ import annotations

from pathlib import Path

from syncd.cli.ram_policies import FUNCTIONS, policies
from syncd.config import Config, load

from tests.support.ram import allows

EXAMPLE = Path(__file__).parents[3] / "config.example.toml"
BUCKET = """
[targets.hangzhou]
region = "cn-hangzhou"
kind = "oss"
endpoint = "https://oss-cn-hangzhou.aliyuncs.com"
bucket = "models-hz"
prefix = "team/"
credentials = "main"
[registries.images]
kind = "oci"
models = ["sdxl"]
endpoint = "https://images.example.com"
acr = { instance = "cri-0123456789abcdef", region = "cn-shanghai", credentials = "pulls" }
"""
KEYS = """
[credentials.{name}]
access_key_id = "{name}"
access_key_secret = {{ env = "SECRET" }}
"""


def _config(tmp_path: Path) -> Config:
    file = tmp_path / "config.toml"
    file.write_text(BUCKET + "".join(KEYS.format(name=name) for name in ("main", "pulls")))
    return load(file, {"SECRET": "x" * 20})


def test_only_the_prefix_of_a_target_is_listed_and_written(tmp_path: Path) -> None:
    statements = policies(_config(tmp_path)).documents["main"]["Statement"]
    bucket = "acs:oss:cn-hangzhou:1:models-hz"
    for action in ("oss:GetObject", "oss:PutObject", "oss:DeleteObject"):
        assert allows(statements, action, f"{bucket}/team/models/a")
        assert not allows(statements, action, f"{bucket}/other/a")
    assert allows(statements, "oss:ListObjects", bucket, prefix="team/models/sdxl/")
    assert not allows(statements, "oss:ListObjects", bucket, prefix="other/")


def test_functions_read_only_the_prefix(tmp_path: Path) -> None:
    statements = policies(_config(tmp_path)).documents[FUNCTIONS]["Statement"]
    assert {action for each in statements for action in each["Action"]} == {"oss:ListObjects", "oss:GetObject"}
    assert not allows(statements, "oss:GetObject", "acs:oss:cn-hangzhou:1:models-hz/other/a")


def test_each_credentials_have_a_policy_of_their_own(tmp_path: Path) -> None:
    found = policies(_config(tmp_path)).documents
    assert found.keys() == {FUNCTIONS, "main", "pulls"}
    assert {action for each in found["pulls"]["Statement"] for action in each["Action"]} == {
        "cr:GetAuthorizationToken",
        "cr:PullRepository",
    }
    assert not allows(found["pulls"]["Statement"], "cr:PullRepository", "acs:cr:cn-shanghai:1:repository/cri-other/a/b")


def test_a_region_has_only_what_is_there() -> None:
    config = load(EXAMPLE, {"SYNCD_OSS_SECRET": "x"})
    shanghai = policies(config, "cn-shanghai").documents
    resources = {name for each in shanghai["main"]["Statement"] for name in each["Resource"]}
    assert all("cn-shanghai:1234567890123456:functions/" in name for name in resources)
    assert policies(config).documents["main"] != shanghai["main"]


def test_what_no_statement_covers_is_said() -> None:
    config = load(EXAMPLE, {"SYNCD_OSS_SECRET": "x"})
    assert [note.partition(":")[0] for note in policies(config).notes] == ["registries.pai"]
