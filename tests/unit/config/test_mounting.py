"""What a function mounts and is told, from settings and manifests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import parse_path
from syncd.config import Config, change_of, load, model_path
from syncd.errors import Invalid
from syncd.runtime.base import Mount, MountKind

FIXTURES = Path(__file__).parents[2] / "config"
EXAMPLE = Path(__file__).parents[3] / "config.example.toml"


def manifest(model: str, version: str = "v1") -> Manifest:
    return Manifest.of(model, version, [Entry(parse_path("weights"), 3, Digest("a" * 64))])


def example() -> Config:
    return load(EXAMPLE, {"SYNCD_OSS_SECRET": "x"})


def test_a_version_mount_is_the_versions_own_directory() -> None:
    sdxl = manifest("sdxl")
    change = change_of(example(), "sd-hz", {"sdxl": sdxl})
    endpoint = "http://oss-cn-hangzhou-internal.aliyuncs.com"
    path = f"/models/sdxl/v1-{sdxl.digest.short}"
    assert change.mounts == (Mount(MountKind.OSS, "models-hz", path, "/mnt/sdxl", endpoint),)
    assert change.environment == {"SDXL_DIGEST": sdxl.digest.hex, "SDXL_PATH": "/mnt/sdxl", "SDXL_VERSION": "v1"}


def test_a_root_mount_is_shared_and_one_variable_names_the_versions() -> None:
    config = load(FIXTURES / "local-cloud.good.toml", {"SYNCD_OSS_SECRET": "x"})
    a, b = manifest("team/a"), manifest("team/b", "2.0")
    change = change_of(config, "embed", {"team/b": b, "team/a": a})
    assert change.mounts == (Mount(MountKind.OSS, "models", "/team-a/models", "/mnt/models", "http://127.0.0.1:18001"),)
    assert change.environment["TEAM_B_VERSION"] == "2.0"
    told = json.loads(change.environment["MODELS"])
    assert told == {
        "team/a": {"digest": a.digest.hex, "path": f"/mnt/models/team/a/v1-{a.digest.short}"},
        "team/b": {"digest": b.digest.hex, "path": f"/mnt/models/team/b/2.0-{b.digest.short}"},
    }


def test_a_nas_is_mounted_from_its_server() -> None:
    sdxl = manifest("sdxl")
    (mount,) = change_of(example(), "sd-sh", {"sdxl": sdxl}).mounts
    assert mount.kind is MountKind.NAS
    assert mount.source == "0123456789-abc12.cn-shanghai.nas.aliyuncs.com"
    assert mount.path == f"/{sdxl.directory}"


def test_mounts_are_in_the_order_of_their_directories_whatever_the_order_of_the_manifests() -> None:
    manifests = [manifest("sdxl"), manifest("lora")]
    one = change_of(example(), "sd-hz", {m.model: m for m in manifests})
    other = change_of(example(), "sd-hz", {m.model: m for m in reversed(manifests)})
    assert one == other
    assert list(one.environment) == list(other.environment)
    assert [mount.mount_dir for mount in one.mounts] == ["/mnt/models", "/mnt/sdxl"]


def test_a_model_without_a_version_is_left_out() -> None:
    change = change_of(example(), "sd-hz", {})
    assert change.mounts == ()
    assert change.environment == {}


def test_the_path_told_is_where_the_files_are() -> None:
    sdxl, lora = example().bindings["sd-hz"].models
    assert model_path(sdxl, manifest("sdxl")) == "/mnt/sdxl"
    assert model_path(lora, manifest("lora")).startswith("/mnt/models/lora/v1-")


def test_variables_past_4_kb_are_refused_with_both_figures(tmp_path: Path) -> None:
    text = (FIXTURES / "ten-models-on-one-root.good.toml").read_text()
    path = tmp_path / "config.toml"
    path.write_text(text)
    config = load(path, {"SYNCD_OSS_SECRET": "x"})
    names = [f"checkpoint-{i}" for i in range(10)]
    change = change_of(config, "b", {name: manifest(name, "v" * 96) for name in names})
    assert len(change.environment["SYNCD_MODELS"]) < 4096
    crowded = config.bindings["b"].models[0].model_copy(update={"mount_dir": "/mnt/" + "m" * 2000, "model": names[0]})
    binding = config.bindings["b"].model_copy(update={"models": (crowded, *config.bindings["b"].models[1:])})
    config = Config(
        path=path,
        state=config.state,
        transfer=config.transfer,
        policy=config.policy,
        registries=config.registries,
        credentials=config.credentials,
        targets=config.targets,
        runtimes=config.runtimes,
        bindings={"b": binding},
    )
    with pytest.raises(Invalid, match=r"binding b: its variables have \d+ bytes, a function may have 4096"):
        change_of(config, "b", {name: manifest(name, "v" * 96) for name in names})
