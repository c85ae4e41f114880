"""Every kind of registry is created as configured, and contacts nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from syncd.config import OciRegistrySettings, load
from syncd.config.registries import registry_at
from syncd.registry.oci.registry import OciRegistry
from syncd.registry.rules.filtered import FilteredRegistry
from syncd.registry.sources.directory import DirectoryRegistry
from syncd.registry.sources.huggingface import HubRegistry
from syncd.registry.sources.index import IndexRegistry
from syncd.registry.sources.mlflow import MlflowRegistry
from syncd.registry.sources.modelscope import ModelScopeRegistry
from syncd.registry.sources.oss_prefix import PrefixRegistry
from syncd.registry.sources.pai import PaiRegistry
from syncd.wiring_registries import registries_of

EXAMPLE = Path(__file__).parents[3] / "config.example.toml"


def test_every_kind_of_registry_is_made() -> None:
    made = registries_of(load(EXAMPLE, {"SYNCD_OSS_SECRET": "x"}))
    assert {
        name: type(selected._registry) for name, selected in made.items() if isinstance(selected, FilteredRegistry)
    } == {
        "local": DirectoryRegistry,
        "index": IndexRegistry,
        "hub": HubRegistry,
        "mlflow": MlflowRegistry,
        "modelscope": ModelScopeRegistry,
        "images": OciRegistry,
        "bucket": PrefixRegistry,
        "pai": PaiRegistry,
    }


def test_a_registry_with_a_user_and_one_with_a_token_are_made(tmp_path: Path) -> None:
    secret = '{ env = "S" }'
    text = f"""
        [registries.a]
        kind = "http"
        url = "https://h/index.json"
        models = ["a"]
        user = "u"
        token = {secret}
        [registries.b]
        kind = "oci"
        endpoint = "https://h"
        models = ["b"]
        user = "u"
        password = {secret}
        [registries.c]
        kind = "mlflow"
        endpoint = "https://h"
        models = ["c"]
        token = {secret}
    """
    (tmp_path / "c.toml").write_text(text)
    config = load(tmp_path / "c.toml", {"S": "hunter2"})
    assert len(registries_of(config)) == 3
    assert [found.reveal() for found in config.secrets()] == ["hunter2"] * 3
    assert "hunter2" not in repr(config)


@pytest.mark.parametrize(
    ("origin", "repository", "prefix"),
    [
        ("https://h", "team/a/sdxl", "team/a/"),
        ("https://h", "team/b/sdxl", "team/"),
        ("https://h", "sdxl", None),
        ("https://other", "team/a/sdxl", None),
        ("http://h", "team/a/sdxl", None),
    ],
)
def test_a_repository_of_images_is_in_the_registry_whose_prefix_says_most_of_it(
    origin: str, repository: str, prefix: str | None
) -> None:
    registries = [
        OciRegistrySettings(kind="oci", endpoint="https://h", models=("m",), prefix=each)
        for each in ("team/", "team/a/", "team/a/sdxl/deeper/")
    ]
    found = registry_at(registries, origin, repository)
    assert (found.prefix if found else None) == prefix
