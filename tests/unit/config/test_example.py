"""The example configuration is the reference: it loads, and shows every setting with its default."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from syncd.config import (
    AdviceSettings,
    ApiSettings,
    BindingSettings,
    CostSettings,
    CredentialsSettings,
    DirectoryRegistrySettings,
    EventBridgeHookSettings,
    FcRuntimeSettings,
    HookSettings,
    HttpRegistrySettings,
    HubRegistrySettings,
    ImageTargetSettings,
    MlflowRegistrySettings,
    ModelScopeRegistrySettings,
    NasTargetSettings,
    OciRegistrySettings,
    OssRegistrySettings,
    OssTargetSettings,
    PaiRegistrySettings,
    PolicySettings,
    ReceiptSettings,
    StateSettings,
    TransferSettings,
    UiSettings,
    load,
    warnings,
)
from syncd.config.registries import FilterTable
from syncd.config.retention import RetentionSettings, ScrubSettings
from syncd.config.values import NotifierSettings, PrometheusSignalSettings

from tests.support.keyless import FakeSigstore
from tests.unit.trust.test_model_signing import SAMPLES

EXAMPLE = Path(__file__).parents[3] / "config.example.toml"
TABLES: tuple[tuple[type[BaseModel], tuple[str, ...]], ...] = (
    (StateSettings, ("state",)),
    (TransferSettings, ("transfer",)),
    (PolicySettings, ("policy",)),
    (ApiSettings, ("api",)),
    (UiSettings, ("ui",)),
    (CostSettings, ("cost",)),
    (AdviceSettings, ("advice",)),
    (ReceiptSettings, ("receipts",)),
    (RetentionSettings, ("retention",)),
    (ScrubSettings, ("scrub",)),
    (DirectoryRegistrySettings, ("registries", "local")),
    (HttpRegistrySettings, ("registries", "index")),
    (HubRegistrySettings, ("registries", "hub")),
    (MlflowRegistrySettings, ("registries", "mlflow")),
    (ModelScopeRegistrySettings, ("registries", "modelscope")),
    (PaiRegistrySettings, ("registries", "pai")),
    (OciRegistrySettings, ("registries", "images")),
    (OssRegistrySettings, ("registries", "bucket")),
    (CredentialsSettings, ("credentials", "main")),
    (OssTargetSettings, ("targets", "hangzhou")),
    (NasTargetSettings, ("targets", "shanghai-nas")),
    (ImageTargetSettings, ("targets", "shanghai-images")),
    (FcRuntimeSettings, ("runtimes", "cn-hangzhou")),
    (BindingSettings, ("bindings", "sd-hz")),
    (PrometheusSignalSettings, ("signals", "errors")),
    (NotifierSettings, ("notify", "chat")),
    (HookSettings, ("hooks", "local")),
    (EventBridgeHookSettings, ("hooks", "oss")),
)
ENVIRON = {
    "SYNCD_OSS_SECRET": "x",
    "SYNCD_OSS_TOKEN": "y",
    "SYNCD_NOTIFY_URL": "https://chat.example.com/hook",
    "SYNCD_NOTIFY_SECRET": "z",
    "SYNCD_HOOK_SECRET": "whsec_eHh4",
    "SYNCD_HOOK_SECRET_BEFORE": "eXl5",
}
# Settings whose default is "not given", or stands for another setting; their comment says so.
NO_DEFAULT_TO_SHOW = {
    "internal_endpoint",
    "accelerator",
    "accelerator_bytes",
    "prices",
    "max_size",
    "period",
    "password",
    "security_token",
    "models",
    "token",
    "mount_endpoint",
    "mount_dir",
    "served_from",
    "base",
    "bandwidth_times",
    "freeze_times",
    "strategies",
    "trust",
    "authorities",
    "keyless",
    "key",
    "signer",
    "public_key",
    "rules",
    "mode",
    "waves",
    "steps",
    "digest",
    "path",
    "version",
    "versions",
    "follow",
    "alias",
    "region",
    "tags",
    "tagged",
    "model_tagged",
    "secret",
    "secret_before",
    "registry",
    "certificate",
    "name",
    "body_file",
    "acr",
    "api",
    "golden",
    "latency",
    "expected",
    "issuer",
    "client_id",
    "client_secret",
    "public_url",
}


def uncommented(text: str) -> str:
    """The example with its commented-out settings in force."""
    return re.sub(r"(?m)^# (?=[a-z_]+ = |\[(?:hooks|notify)\.[a-z]+\]$)", "", text)


def document() -> dict[str, Any]:
    return tomllib.loads(uncommented(EXAMPLE.read_text()))


def settings() -> Iterator[tuple[type[BaseModel], str, Any]]:
    """Every setting of every table of the example, those of tables inside tables too, and what it shows first."""
    found: dict[tuple[type[BaseModel], str], Any] = {}
    for table, place in TABLES:
        shown: Any = document()
        for part in place:
            shown = shown[part]
        for inside, name, value in _inside(table, [shown]):
            if (
                not _is_shown_elsewhere(inside, name, value)
                and found.get((inside, name), PydanticUndefined) is PydanticUndefined
            ):
                found[inside, name] = value
    yield from ((table, name, shown) for (table, name), shown in found.items())


def _inside(table: type[BaseModel], shown: list[dict[str, Any]]) -> Iterator[tuple[type[BaseModel], str, Any]]:
    for name, field in table.model_fields.items():
        key = field.alias or name
        values = [item[key] for item in shown if key in item]
        inner = [t for t in (field.annotation, *get_args(field.annotation)) if _is_table(t)]
        if inner and values:
            flat = [item for value in values for item in (value if isinstance(value, list) else [value])]
            yield from _inside(inner[0], flat)
        yield table, name, values[0] if values else PydanticUndefined


def _is_shown_elsewhere(table: type[BaseModel], name: str, shown: object) -> bool:
    """What every registry has is shown with the first."""
    shared = table is not DirectoryRegistrySettings and issubclass(table, FilterTable)
    return shared and name in FilterTable.model_fields and shown is PydanticUndefined


def _is_table(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def test_the_example_loads_without_a_warning() -> None:
    config = load(EXAMPLE, {"SYNCD_OSS_SECRET": "x"})
    assert sorted(config.targets) == ["hangzhou", "shanghai-images", "shanghai-nas"]
    assert warnings(config) == ()


def test_the_example_loads_with_its_comments_in_force(tmp_path: Path) -> None:
    text = uncommented(EXAMPLE.read_text()).replace("sqlite:////var/lib/syncd/syncd.db", "postgresql+psycopg://a@b/c")
    secret = tmp_path / "secret"
    secret.write_text("x\n")
    everything = tmp_path / "config.toml"
    for elsewhere in ("/run/secrets/syncd-database", "/etc/syncd/golden.json", "/etc/syncd/receipts.pem"):
        text = text.replace(elsewhere, str(secret))
    text = text.replace("/etc/syncd/models-ca.pem", str(SAMPLES / "root.pem"))
    trusted = tmp_path / "trusted_root.json"
    trusted.write_text(json.dumps(FakeSigstore().trusted_root()))
    text = text.replace("/etc/syncd/trusted_root.json", str(trusted))
    text = re.sub(r"(?m)^signer = .*$", "", text)  # the key stands instead of it
    text = text.replace("roles_read = []", 'roles_read = ["ml-all"]')  # a provider lets somebody in
    everything.write_text(re.sub(r"(?m)^acr = .*$", "", text))
    names = (
        "SYNCD_OIDC_SECRET",
        "SYNCD_OSS_TOKEN",
        "SYNCD_INDEX_TOKEN",
        "SYNCD_HUB_TOKEN",
        "SYNCD_MLFLOW_TOKEN",
        "SYNCD_MODELSCOPE_TOKEN",
        "SYNCD_IMAGES_PASSWORD",
        "SYNCD_IMAGE_PASSWORD",
        "SYNCD_PROMETHEUS_TOKEN",
    )
    config = load(everything, {**dict.fromkeys(names, "y"), **ENVIRON})
    assert config.credentials["main"].security_token is not None
    assert len(config.secrets()) == 14 + 4
    assert config.state.connect_url.password == "x"  # the file's newline is no part of it
    everything.write_text(re.sub(r"(?m)^password = .*IMAGES.*$", "", text))  # the one stands instead of the other
    assert len(load(everything, {**dict.fromkeys(names, "y"), **ENVIRON}).secrets()) == 13 + 4


@pytest.mark.parametrize(
    ("table", "name", "shown"), [pytest.param(*s, id=f"{s[0].__name__}.{s[1]}") for s in settings()]
)
def test_every_setting_is_shown_with_its_default(table: type[BaseModel], name: str, shown: object) -> None:
    assert shown is not PydanticUndefined, f"{table.__name__}.{name} is not in {EXAMPLE.name}"
    default = table.model_fields[name].default
    if default is PydanticUndefined or name in NO_DEFAULT_TO_SHOW or isinstance(default, BaseModel):
        return
    real = table.__pydantic_validator__.validate_assignment(table.model_construct(), name, shown)
    value = real[0][name] if isinstance(real, tuple) else getattr(real, name)
    assert value == default, f"{table.__name__}.{name} is {default!r}, the example shows {shown!r}"


def test_every_setting_in_the_example_has_a_comment_above_its_run() -> None:
    lines = EXAMPLE.read_text().splitlines()
    explained = {line.split(" = ")[0].lstrip("# ") for above, line in pairwise(lines) if above[:2] == "# "}
    assert {
        "url",
        "buffer_bytes",
        "parts_in_flight",
        "lease_s",
        "tick_s",
        "poll_s",
        "settle_s",
        "warm",
        "load_path",
    } <= explained
