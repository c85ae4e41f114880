"""The model that a delivery causes a poll of, in the names of its registry; or every model."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from syncd.api.webhooks.webhooks import Webhook, webhooks_of
from syncd.config import load

from tests.unit.api.deliveries import genuine

ALL: Final = {each.name: each for each in genuine()}
REGISTRIES: Final = {
    "directory": 'path = "/srv/models"',
    "http": 'url = "https://models.example.com/index.json"',
    "huggingface": "",
    "mlflow": 'endpoint = "https://mlflow.example.com"',
    "oci": 'endpoint = "https://images.example.com"\nprefix = "{prefix}"',
    "oss": 'region = "cn-hangzhou"\nendpoint = "https://oss-cn-hangzhou.aliyuncs.com"\nbucket = "training"\n'
    'prefix = "{prefix}"\ncredentials = "c"',
}
HEAD: Final = "575db8b7a51b6f85eb06eee540738584589f131c"


def hook_at(kind: str, registry: str, prefix: str, root: Path, secret: str) -> Webhook:
    """A webhook that leads to a registry of this kind."""
    path = root / "config.toml"
    path.write_text(
        f"""[credentials.c]
access_key_id = "id"
access_key_secret = {{ env = "SECRET" }}

[registries.models]
kind = "{registry}"
models = ["acme/m"]
{REGISTRIES[registry].format(prefix=prefix)}

[hooks.models]
kind = "{kind}"
secret = {{ env = "SECRET" }}
"""
    )
    return webhooks_of(load(path, {"SECRET": secret}))["models"]


def reported(name: str, registry: str, root: Path, prefix: str = "") -> list[tuple[str, str]]:
    """The locations and versions of a delivery, for a registry of this kind."""
    given = ALL[name]
    at = hook_at(given.kind, registry, prefix, root, given.secret)
    return list(dict.fromkeys((each.place, each.ref) for each in at.read(given.sent, given.now_s)))


@pytest.mark.parametrize(
    ("name", "registry", "found"),
    [
        ("mlflow registered_model.created", "mlflow", [("iris", "")]),
        ("mlflow model_version.created", "mlflow", [("iris", "1")]),
        ("mlflow model_version_alias.created", "mlflow", [("iris", "1")]),
        ("mlflow model_version_tag.set", "mlflow", [("iris", "1")]),
        ("huggingface", "huggingface", [("acme/tiny-llm", HEAD), ("acme/tiny-llm", "v2.0")]),
        ("harbor push", "oci", [("harbor/alpine", "v1")]),
        ("harbor cloudevent", "oci", [("harbor/alpine", "v1")]),
        ("acr", "oci", [("namespace/repoTest", "latest")]),
        ("acr enterprise", "oci", [("scan/mix-vuls", "mix-vuls")]),
        ("acr as cloudevent", "oci", [("scan/mix-vuls", "mix-vuls")]),
        ("dockerhub", "oci", [("svendowideit/testhook", "latest")]),
        ("oss as cloudevent", "oss", [("input/x.csv", "")]),
        ("standard", "directory", [("m", "1")]),
        ("standard", "oci", [("m", "1")]),
    ],
)
def test_a_sender_that_uses_the_registrys_names_causes_a_poll_of_one_model(
    name: str, registry: str, found: list[tuple[str, str]], tmp_path: Path
) -> None:
    assert reported(name, registry, tmp_path) == found


@pytest.mark.parametrize(
    ("name", "registry"),
    [
        ("github", "directory"),
        ("binary cloudevent", "oss"),
        ("harbor push", "directory"),
        ("mlflow model_version.created", "huggingface"),
        ("oss as cloudevent", "http"),
        ("acr as cloudevent", "oss"),
    ],
)
def test_a_sender_with_other_names_causes_a_poll_of_every_model(name: str, registry: str, tmp_path: Path) -> None:
    assert reported(name, registry, tmp_path) == [("", "")]


def test_names_begin_where_the_registrys_prefix_ends_and_what_is_beside_it_is_nothing_to_us(tmp_path: Path) -> None:
    assert reported("harbor push", "oci", tmp_path, "harbor/") == [("alpine", "v1")]
    assert reported("oss as cloudevent", "oss", tmp_path, "input/") == [("x.csv", "")]
    assert reported("harbor push", "oci", tmp_path, "models/") == []
    assert reported("oss as cloudevent", "oss", tmp_path, "models/") == []
    assert reported("oss as cloudevent", "oss", tmp_path, "input/x.csv/") == []


def test_what_a_registry_pushed_is_named_by_its_repository_and_tag(tmp_path: Path) -> None:
    found = {place for name in ALL if name.startswith("oci ") for place in reported(name, "oci", tmp_path)}
    assert found
    assert all(place and ":" not in ref for place, ref in found)
