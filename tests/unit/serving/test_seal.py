"""The seal on a mount: which version is there, whether it is whole, and where the environment says it is."""

import hashlib
import json
from pathlib import Path

import pytest
from syncd.serving import ModelSource, NotSealed, WrongBytes, find_models, read_seal
from syncd.serving.leaves import LEAF_BYTES, LEAVES_PATH, LeafHasher, pack_leaves, parse_leaves

from tests.support.sealed_models import sealed


def test_a_sealed_version_is_read_with_its_files_and_its_digest(tmp_path: Path) -> None:
    manifest = sealed(tmp_path, {"model.bin": b"weights", "sub/config.json": b"{}"})

    found = read_seal(tmp_path, manifest.digest.hex)

    assert (found.digest, found.model, found.version) == (manifest.digest.hex, "sdxl", "v1")
    assert [(file.path, file.size_bytes) for file in found.files] == [("model.bin", 7), ("sub/config.json", 2)]
    assert found.size_bytes == 9


def test_an_empty_directory_is_no_version(tmp_path: Path) -> None:
    with pytest.raises(NotSealed, match=r"no \.syncd/manifest\.json"):
        read_seal(tmp_path)


def test_another_version_than_the_environment_names_is_refused(tmp_path: Path) -> None:
    manifest = sealed(tmp_path, {"a": b"1"})

    with pytest.raises(NotSealed, match=f"expected the version {'0' * 64}, the mount has {manifest.digest.hex}"):
        read_seal(tmp_path, "0" * 64)


def test_a_file_that_is_missing_or_has_another_size_is_found_without_reading_it(tmp_path: Path) -> None:
    sealed(tmp_path, {"a": b"12345", "b": b"1"})
    (tmp_path / "a").write_bytes(b"123")
    with pytest.raises(WrongBytes, match="expected 5 bytes, the mount has 3"):
        read_seal(tmp_path)

    (tmp_path / "a").unlink()
    with pytest.raises(WrongBytes, match="missing; the seal says 5 bytes"):
        read_seal(tmp_path)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b'{"format": "syncd/manifest/v2"}', b'{"format": "syncd/manifest/v1", "files": [{}]}']
)
def test_a_damaged_seal_is_no_version(tmp_path: Path, text: bytes) -> None:
    sealed(tmp_path, {"a": b"1"})
    (tmp_path / ".syncd" / "manifest.json").write_bytes(text)

    with pytest.raises(NotSealed):
        read_seal(tmp_path)


def test_a_seal_that_names_a_file_outside_of_the_version_is_refused(tmp_path: Path) -> None:
    sealed(tmp_path, {"a": b"1"})
    seal = tmp_path / ".syncd" / "manifest.json"
    seal.write_bytes(seal.read_bytes().replace(b'"path":"a"', b'"path":"../a"'))

    with pytest.raises(NotSealed, match="outside of the version"):
        read_seal(tmp_path)


def test_leaf_digests_count_only_beside_their_own_manifest(tmp_path: Path) -> None:
    data = bytes(2 * LEAF_BYTES + 1)
    manifest = sealed(tmp_path, {"model.bin": data}, leaves_from_bytes=1)
    assert len(read_seal(tmp_path).files[0].leaves) == 3

    (tmp_path / LEAVES_PATH).write_bytes(pack_leaves("0" * 64, {"model.bin": bytes(96)}))
    assert read_seal(tmp_path).files[0].leaves == ()
    (tmp_path / LEAVES_PATH).write_bytes(pack_leaves(manifest.digest.hex, {"model.bin": bytes(64)}))  # one is missing
    assert read_seal(tmp_path).files[0].leaves == ()


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"\xff", b'{"format":"syncd/leaves/v2","manifest":"d"}'])
def test_damaged_leaf_digests_are_none(text: bytes) -> None:
    assert parse_leaves(text, "d").files == {}


@pytest.mark.parametrize("size", [0, 1, LEAF_BYTES, LEAF_BYTES + 1, 3 * LEAF_BYTES])
@pytest.mark.parametrize("step", [1 << 18, LEAF_BYTES - 1, 4 * LEAF_BYTES])
def test_leaf_digests_do_not_depend_on_how_the_bytes_pass(size: int, step: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    hasher = LeafHasher()
    for at in range(0, size, step):
        hasher.update(memoryview(data)[at : at + step])

    leaves = [hashlib.sha256(data[at : at + LEAF_BYTES]).digest() for at in range(0, size, LEAF_BYTES)]
    assert hasher.digests() == b"".join(leaves)


def test_leaves_of_no_whole_number_of_mebibytes_are_none() -> None:
    odd = pack_leaves("d", {"a": bytes(32)}).replace(b'"leaf_bytes":1048576', b'"leaf_bytes":1000')

    assert parse_leaves(odd, "d").files == {}


def test_models_are_found_through_the_environment() -> None:
    lora = json.dumps({"lora": {"digest": "ab" * 32, "path": "/mnt/models/lora/v1"}})
    environ = {"MODELS": "sdxl=SDXL_PATH+SDXL_DIGEST, lora=VERSIONS:json,later=LATER", "SDXL_PATH": "/mnt/sdxl",
               "SDXL_DIGEST": "cd" * 32, "VERSIONS": lora}  # fmt: skip

    assert find_models(environ) == [
        ModelSource("sdxl", Path("/mnt/sdxl"), "cd" * 32),
        ModelSource("lora", Path("/mnt/models/lora/v1"), "ab" * 32),
    ]
    assert find_models(environ, root="/box")[0].directory == Path("/box/mnt/sdxl")


@pytest.mark.parametrize("environ", [{}, {"MODELS": "a=V:json", "V": "no json"}, {"MODELS": "a=V:json", "V": "{}"}])
def test_an_environment_that_names_no_model_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(NotSealed):
        find_models(environ)
