"""Manifests: their bytes are a format that every release reads and writes alike."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from syncd.artifact.digest import Digest
from syncd.artifact.manifest import FORMAT, MODELS_DIRECTORY, SEAL_PATH, Entry, Manifest
from syncd.artifact.names import FilePath
from syncd.errors import Invalid

GOLDEN = Path(__file__).parents[2] / "golden" / "v1"
A, B = Digest("a" * 64), Digest("b" * 64)


def entry(path: str, size_bytes: int = 1, sha256: Digest = A) -> Entry:
    return Entry(FilePath(path), size_bytes, sha256)


def document(**changes: Any) -> bytes:
    file = {"path": "a", "sha256": A.hex, "size": 1}
    return json.dumps({"files": [file], "format": FORMAT, "model": "sdxl", "version": "v1"} | changes).encode()


GOLDENS = {
    "manifest.json": Manifest.of("sdxl", "v1", [entry("model.safetensors", 2_567_852_032), entry("empty", 0, B)]),
    "manifest-unicode.json": Manifest.of(
        "team/qwen-2.5", "1.4.0+cu12", [entry("权重/é.bin", 3), entry('quoted " name', 4, B), entry("Z"), entry("a")]
    ),
}
DIGESTS = {
    "manifest.json": "698c9526c1c53422e892e9c1bb71be0106fb0f15dc32682b7d12ae12c3cdff03",
    "manifest-unicode.json": "ddffe4f2f6a5e056be7fd69c394957624ea3f50aaad3ed2ebe01feabb4693df4",
}


@pytest.mark.parametrize("name", sorted(GOLDENS))
def test_the_canonical_bytes_are_those_that_earlier_releases_wrote(name: str) -> None:
    golden = (GOLDEN / name).read_bytes()
    assert GOLDENS[name].canonical == golden
    assert GOLDENS[name].digest.hex == DIGESTS[name] == hashlib.sha256(golden).hexdigest()
    assert Manifest.parse(golden) == GOLDENS[name]


def test_every_golden_file_has_a_part_in_a_test() -> None:
    assert {path.name for path in GOLDEN.glob("manifest*.json")} == set(GOLDENS)


def test_the_directory_of_a_version_is_a_format_too() -> None:
    manifest = GOLDENS["manifest-unicode.json"]
    assert manifest.directory == f"models/team/qwen-2.5/1.4.0+cu12-{DIGESTS['manifest-unicode.json'][:12]}"
    assert (MODELS_DIRECTORY, SEAL_PATH) == ("models", ".syncd/manifest.json")


def test_the_order_in_which_files_are_given_does_not_matter() -> None:
    one = Manifest.of("sdxl", "v1", [entry("b"), entry("a/c"), entry("a-b")])
    other = Manifest.of("sdxl", "v1", [entry("a-b"), entry("b"), entry("a/c")])
    assert one == other
    assert one.digest == other.digest
    assert [e.path for e in one.entries] == ["a-b", "a/c", "b"]


@pytest.mark.parametrize(
    "other",
    [
        Manifest.of("sdxl", "v2", [entry("a")]),
        Manifest.of("sd", "v1", [entry("a")]),
        Manifest.of("sdxl", "v1", [entry("b")]),
        Manifest.of("sdxl", "v1", [entry("a", 2)]),
        Manifest.of("sdxl", "v1", [entry("a", 1, B)]),
        Manifest.of("sdxl", "v1", [entry("a"), entry("b")]),
    ],
)
def test_any_difference_is_another_digest(other: Manifest) -> None:
    assert Manifest.of("sdxl", "v1", [entry("a")]).digest != other.digest


def test_a_manifest_knows_its_size_and_its_name() -> None:
    manifest = Manifest.of("sdxl", "v1", [entry("a", 3), entry("b", 4)])
    assert manifest.size_bytes == 7
    assert str(manifest) == "sdxl@v1"


PATHS = st.text(
    st.characters(codec="utf-8", exclude_categories=["C"], exclude_characters="/\\:"), min_size=1, max_size=8
)
FILES = st.dictionaries(PATHS, st.tuples(st.integers(0, 1 << 50), st.sampled_from([A, B])), min_size=1, max_size=6)


@given(FILES)
def test_what_is_written_is_read_back_the_same(files: dict[str, tuple[int, Digest]]) -> None:
    try:
        manifest = Manifest.of("sdxl", "v1", [entry(path, *rest) for path, rest in files.items()])
    except Invalid:
        assume(False)
    read = Manifest.parse(manifest.canonical)
    assert read == manifest
    assert read.canonical == manifest.canonical
    assert manifest.canonical.endswith(b"\n")
    assert manifest.canonical.count(b"\n") == 1


def test_a_version_without_files_is_refused() -> None:
    with pytest.raises(Invalid, match="sdxl@v1 has no files"):
        Manifest.of("sdxl", "v1", [])


@pytest.mark.parametrize(("model", "version"), [("-", "v1"), ("sdxl", "../v1"), ("a/b/c", "v1"), ("sdxl", "")])
def test_a_manifest_of_a_bad_name_is_refused(model: str, version: str) -> None:
    with pytest.raises(Invalid):
        Manifest.of(model, version, [entry("a")])


def test_files_that_collide_are_refused() -> None:
    with pytest.raises(Invalid, match="collide"):
        Manifest.of("sdxl", "v1", [entry("a"), entry("A")])


def test_an_entry_of_a_bad_path_or_size_is_refused() -> None:
    with pytest.raises(Invalid, match="is absolute"):
        entry("/a")
    with pytest.raises(Invalid, match="a: expected a size of at least 0 bytes, got -1"):
        entry("a", -1)


def test_a_manifest_of_a_later_format_asks_for_a_later_syncd() -> None:
    with pytest.raises(Invalid, match=r"format 'syncd/manifest/v1', got 'syncd/manifest/v2'") as refusal:
        Manifest.parse(document(format="syncd/manifest/v2"))
    assert refusal.value.hint == "upgrade syncd"


def test_unknown_keys_of_the_same_format_are_read_over() -> None:
    assert str(Manifest.parse(document(more="later"))) == "sdxl@v1"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b"5",
        b"[]",
        b"null",
        b"{}",
        b"[" * 100_000,
        document(files=None),
        document(files=[5]),
        document(files=[{}]),
        document(files=[]),
        document(files=[{"path": None, "sha256": A.hex, "size": 1}]),
        document(files=[{"path": "a", "sha256": None, "size": 1}]),
        document(files=[{"path": "a", "sha256": "a", "size": 1}]),
        document(files=[{"path": "a", "sha256": A.hex, "size": "many"}]),
        document(files=[{"path": "a", "sha256": A.hex, "size": float("inf")}]),
        document(files=[{"path": "a", "sha256": A.hex, "size": -1}]),
        document(files=[{"path": "../a", "sha256": A.hex, "size": 1}]),
        document(model=5),
        document(version=None),
    ],
    ids=lambda data: data[:60].decode(errors="replace"),
)
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        Manifest.parse(data)


@given(st.binary(max_size=100))
def test_any_bytes_are_refused_and_nothing_worse(data: bytes) -> None:
    with pytest.raises(Invalid):
        Manifest.parse(data)
