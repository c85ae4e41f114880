"""Images are built in Docker's registry, and checked with independent tools."""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from syncd.artifact.manifest import Entry, Manifest
from syncd.errors import Cancelled, Conflict, Corrupt, Invalid, NotFound, Unavailable
from syncd.oci.build import BuildSettings, BuiltImage, LayerOrigin
from syncd.values.source import Stream

from tests.emulators.distribution import Distribution, Login, distribution
from tests.emulators.relay import ImageRelay
from tests.support.sources import content
from tests.unit.oci.kitchen import BASE, SMALL, Files, Hasty, Kitchen, Notebook, model, push_base

pytestmark = pytest.mark.needs_docker_registry


def skopeo(*arguments: str) -> str:
    done = subprocess.run(["skopeo", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def source_of(baked: BuiltImage) -> str:
    return f"docker://{baked.repository}:{baked.tag}"


class TestOpen:
    login: Login = ""

    @pytest.fixture
    def house(self, tmp_path: Path) -> Iterator[Distribution]:
        with distribution(tmp_path, self.login) as made:
            push_base(made)
            yield made

    def test_what_is_baked_can_be_read_by_its_digest(self, house: Distribution) -> None:
        made = model()
        baked = Kitchen(house.origin, bool(self.login)).bake(made)
        assert [layer.how for layer in baked.layers] == [LayerOrigin.MOUNTED, *[LayerOrigin.PUSHED] * 3]
        with house.client("team/sdxl") as client:
            accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
            answer = client.get(f"/v2/team/sdxl/manifests/{baked.tag}", headers=accept)
            assert answer.headers["docker-content-digest"] == f"sha256:{baked.digest}"
            for layer in answer.json()["layers"]:
                held = client.get(f"/v2/team/sdxl/blobs/{layer['digest']}").content
                assert (len(held), hashlib.sha256(held).hexdigest()) == (layer["size"], layer["digest"][7:])

    def test_baking_again_sends_nothing(self, house: Distribution) -> None:
        notes = Notebook()
        first = Kitchen(house.origin, bool(self.login), notes).bake(model())
        second = Kitchen(house.origin, bool(self.login), notes).bake(model())
        assert second.reference == first.reference
        assert {layer.how for layer in second.layers} == {LayerOrigin.KEPT}
        assert sum(layer.bytes_sent for layer in second.layers) == 0
        assert notes.uploads == {}


class TestUsers(TestOpen):
    login = "htpasswd"


class TestTokens(TestOpen):
    login = "token"

    def test_a_token_is_requested_for_this_repository_and_the_one_mounted_from(self, house: Distribution) -> None:
        Kitchen(house.origin, login=True).bake(model())
        assert house.tokens
        assert set(house.tokens.asked) == {f"repository:{BASE}:pull", "repository:team/sdxl:pull,push"}

    def test_a_token_that_ends_while_layers_are_pushed_is_replaced(self, house: Distribution) -> None:
        assert house.tokens
        clock = itertools.count(step=40.0)  # of a token's 300 seconds, at each read of the clock
        baked = Kitchen(house.origin, login=True, clock=lambda: float(next(clock))).bake(model())
        assert house.tokens.asked.count("repository:team/sdxl:pull,push") > 3
        assert Kitchen(house.origin, login=True).repository.manifest(baked.tag).digest == baked.digest


@pytest.mark.needs_skopeo
def test_skopeo_sees_the_model_the_version_and_the_base(registry: Distribution) -> None:
    made = model()
    baked = Kitchen(registry.origin).bake(made, SYNCD_MODEL="team/sdxl", SYNCD_DIGEST=made[0].digest.hex)
    seen: dict[str, Any] = json.loads(skopeo("inspect", "--tls-verify=false", source_of(baked)))
    assert seen["Digest"] == f"sha256:{baked.digest}"
    assert (seen["Architecture"], seen["Os"], seen["Created"]) == ("amd64", "linux", "2026-11-01T00:00:00Z")
    assert seen["Env"] == ["PATH=/bin", f"SYNCD_DIGEST={made[0].digest}", "SYNCD_MODEL=team/sdxl"]
    assert seen["Labels"] == {
        "kept": "yes",
        "org.opencontainers.image.base.digest": f"sha256:{baked.base_digest}",
        "org.opencontainers.image.version": "v1",
        "syncd.base": f"{BASE}:1.0",
        "syncd.digest": made[0].digest.hex,
        "syncd.model": "team/sdxl",
        "syncd.source": "models",
        "syncd.version": "v1",
    }
    config = json.loads(skopeo("inspect", "--tls-verify=false", "--config", source_of(baked)))
    assert config["config"]["Cmd"] == ["/bin/serve"]
    assert [each["created_by"] for each in config["history"]] == [
        "a builder",
        "syncd bake: model-1.safetensors",
        "syncd bake: 3 files",
        "syncd bake: .syncd/manifest.json",
    ]


@pytest.mark.needs_skopeo
@pytest.mark.needs_umoci
def test_skopeo_copies_it_and_umoci_unpacks_every_file_of_base_and_model(
    registry: Distribution, tmp_path: Path
) -> None:
    manifest, files = model()
    baked = Kitchen(registry.origin).bake((manifest, files))
    layout = tmp_path / "layout"
    skopeo("copy", "--quiet", "--src-tls-verify=false", source_of(baked), f"oci:{layout}:made")
    unpack = ["umoci", "unpack", "--rootless", "--image", f"{layout}:made", str(tmp_path / "unpacked")]
    done = subprocess.run(unpack, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    root = tmp_path / "unpacked" / "rootfs"
    assert (root / "bin/serve").read_bytes() == b"#!/bin/sh\necho served\n"
    place = root / "models/sdxl"
    assert {path: (place / path).read_bytes() for path in files.files} == files.files
    assert hashlib.sha256((place / ".syncd/manifest.json").read_bytes()).hexdigest() == manifest.digest.hex


def test_the_same_inputs_are_the_same_image_in_every_registry(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        with distribution(tmp_path / name) as house:
            push_base(house)
            found.append(Kitchen(house.origin).bake(model()))
    assert (found[0].tag, found[0].digest) == (found[1].tag, found[1].digest)
    assert [layer.digest for layer in found[0].layers] == [layer.digest for layer in found[1].layers]


@pytest.mark.parametrize("changed", ["base", "directory", "variables"])
def test_any_difference_in_an_image_gives_another_tag(registry: Distribution, changed: str) -> None:
    kitchen = Kitchen(registry.origin)
    one = kitchen.bake(model())
    if changed == "base":
        push_base(registry, tag="2.0", created="2026-11-02T00:00:00Z")
        two = replace(kitchen, base=f"{BASE}:2.0").bake(model())
    elif changed == "directory":
        two = kitchen.bake(model(), "/opt/sdxl")
    else:
        two = kitchen.bake(model(), SYNCD_MODEL="other")
    assert one.tag != two.tag
    assert {one.tag, two.tag} <= set(registry.tags("team/sdxl"))


def test_of_four_shards_the_one_that_changed_is_pushed_and_nothing_else_of_weight(
    registry: Distribution, relay: ImageRelay
) -> None:
    kitchen = Kitchen(relay.origin)
    kitchen.bake(model("v1", shards=4))
    relay.sent.clear()
    baked = kitchen.bake(model("v2", shards=4, model_3=content("another", 9 << 17)))
    pushed = [layer for layer in baked.layers if layer.how is LayerOrigin.PUSHED]
    assert [layer.title for layer in pushed] == ["model-3.safetensors", ".syncd/manifest.json"]
    assert relay.bytes_in - sum(layer.bytes_sent for layer in pushed) < 8192  # the configuration
    assert sum(layer.bytes_sent for layer in pushed) < (9 << 17) + 8192


def test_where_nothing_is_remembered_layers_are_sent_again_and_the_image_is_the_same(registry: Distribution) -> None:
    one = Kitchen(registry.origin).bake(model())
    assert Kitchen(registry.origin).bake(model()).reference == one.reference


def test_a_base_of_another_registry_is_copied(registry: Distribution, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with distribution(tmp_path / "other") as house:
        push_base(house)
        kitchen = Kitchen(registry.origin)
        near, far = kitchen.bake(model()), _baked_from(kitchen, house)
    assert far.layers[0].how is LayerOrigin.KEPT
    assert far.digest == near.digest
    with distribution(tmp_path / "other") as house:
        (tmp_path / "third").mkdir()
        with distribution(tmp_path / "third") as empty:
            copied = _baked_from(Kitchen(empty.origin), house)
            assert copied.layers[0].how is LayerOrigin.PUSHED
            assert copied.digest == near.digest


def test_an_image_too_large_for_the_platform_is_refused_before_a_byte_moves(
    registry: Distribution, relay: ImageRelay
) -> None:
    kitchen = Kitchen(relay.origin, settings=replace(SMALL, limit_bytes=3_000_000))
    with pytest.raises(Invalid, match=r"would have \d+ bytes, \d+ of them the base; 3000000 are allowed") as refused:
        kitchen.bake(model(shards=3))
    assert "NAS or OSS" in refused.value.hint
    assert relay.bytes_in == 0


def test_more_layers_than_can_be_mounted_are_refused_before_a_byte_moves(
    registry: Distribution, relay: ImageRelay
) -> None:
    entry = model()[0].entries[0]
    many = Manifest.of("m", "v", [Entry(type(entry.path)(f"{n}"), 9 << 17, entry.sha256) for n in range(126)])
    with pytest.raises(Invalid, match="would have 128 layers, 127 can be mounted"):
        Kitchen(relay.origin).bake((many, Files({})))
    assert relay.bytes_in == 0


def test_a_file_that_is_not_the_manifests_makes_no_image(registry: Distribution) -> None:
    manifest, files = model(shards=2)
    data = bytearray(files.files["model-2.safetensors"])
    data[500_000] ^= 1
    files.files["model-2.safetensors"] = bytes(data)
    kitchen = Kitchen(registry.origin)
    with pytest.raises(Corrupt, match=r"model-2\.safetensors: expected sha256"):
        kitchen.bake((manifest, files))
    assert registry.tags("team/sdxl") == []
    assert len(kitchen.bake(model(shards=2)).layers) == 5


def test_a_tag_that_names_something_else_is_never_moved(registry: Distribution) -> None:
    kitchen = Kitchen(registry.origin)
    baked = kitchen.bake(model())
    document = kitchen.repository.manifest(baked.tag)
    kitchen.repository.push_manifest(baked.tag, document)  # the same again is no conflict
    other = kitchen.repository.manifest(Kitchen(registry.origin).bake(model("v2")).tag)
    with pytest.raises(Conflict, match=f"{baked.tag}: expected sha256:.*, got sha256:{baked.digest}"):
        kitchen.repository.push_manifest(baked.tag, other)
    assert kitchen.repository.manifest(baked.tag).digest == baked.digest


def test_a_stopped_push_is_resumed(registry: Distribution, relay: ImageRelay) -> None:
    manifest, files = model(shards=1)
    kitchen = Kitchen(relay.origin)
    stop = Hasty()

    def stopping(entry: Entry, offset_bytes: int) -> Stream:
        if relay.sent["PATCH"]:
            stop.set()
        return files(entry, offset_bytes)

    with pytest.raises(Cancelled):
        kitchen.bake_until((manifest, stopping), stop)
    assert registry.tags("team/sdxl") == []
    assert kitchen.bake((manifest, files)).layers[1].how is LayerOrigin.KEPT


def test_memory_does_not_grow_with_a_layer(registry: Distribution) -> None:
    size_bytes = 64 << 20
    block = content("block", 1 << 20)
    sha = hashlib.sha256()
    for _ in range(64):
        sha.update(block)
    entry = model()[0].entries[0]
    manifest = Manifest.of("m", "v", [Entry(entry.path, size_bytes, type(entry.sha256)(sha.hexdigest()))])
    kitchen = Kitchen(registry.origin, settings=BuildSettings(chunk_bytes=4 << 20))
    tracemalloc.start()
    try:
        kitchen.bake((manifest, _Endless(block)))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 16 << 20


def test_an_answer_of_no_registry_is_not_an_image(registry: Distribution) -> None:
    with pytest.raises(NotFound):
        replace(Kitchen(registry.origin), base="bases/nothing:1").bake(model())
    registry.stop()
    with pytest.raises(Unavailable):
        Kitchen(registry.origin).bake(model())


class _Endless:
    """A generated file: one block, repeated."""

    def __init__(self, block: bytes) -> None:
        self._block = block
        self._at = 0

    def __call__(self, entry: Entry, offset_bytes: int) -> _Endless:
        assert offset_bytes == 0
        return self

    def readinto(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self._block) - self._at)
        buffer[:count] = self._block[self._at : self._at + count]
        self._at = (self._at + count) % len(self._block)
        return count

    def __enter__(self) -> _Endless:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


def _baked_from(kitchen: Kitchen, house: Distribution) -> BuiltImage:
    return replace(kitchen, base_origin=house.origin).bake(model())
