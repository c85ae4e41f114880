"""Layers are the same bytes on any machine, have their stated size, and contain verified files."""

from __future__ import annotations

import hashlib
import io
import tarfile

import pytest
from syncd.artifact.manifest import Manifest
from syncd.errors import Corrupt, Invalid, NotFound, Unavailable
from syncd.oci.layers import ALONE_BYTES, GROUP_BYTES, FileLayer, TarStream, layers_of

from tests.support.sources import content, manifest_of
from tests.unit.oci.kitchen import Files, Hasty

SMALL = {"config.json": b"{}\n", "deep/er/vocab.txt": b"a\nb\n", "empty": b"", "ключ.txt": b"unicode"}


def read(layer: FileLayer, files: Files, step: int = 1000) -> bytes:
    out, buffer = io.BytesIO(), memoryview(bytearray(step))
    with TarStream(layer, files, Hasty().wait) as stream:
        while count := stream.readinto(buffer):
            out.write(buffer[:count])
    return out.getvalue()


def test_a_layer_is_the_same_bytes_for_ever() -> None:
    small, seal = layers_of(manifest_of(SMALL, "sdxl", "v1"), "/models/sdxl")
    assert hashlib.sha256(read(small, Files(SMALL))).hexdigest() == (
        "34dad477ae9d8bac9445acea119376aa8173f9d65144e48605bc7490f2b10498"
    )
    assert hashlib.sha256(read(seal, Files({}))).hexdigest() == (
        "7353a90ddde79a267cbce257cc0f7b076e545b2872a8d42061755a8b3339feda"
    )


def test_the_tar_has_its_stated_size_and_every_file_owned_by_root() -> None:
    small, _ = layers_of(manifest_of(SMALL), "/models/sdxl")
    data = read(small, Files(SMALL))
    assert len(data) == small.size_bytes
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = archive.getmembers()
        found = {m.name: archive.extractfile(m).read() for m in members if m.isfile()}  # type: ignore[union-attr]
    assert found == {f"models/sdxl/{path}": data for path, data in SMALL.items()}
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 0)}
    assert {m.mode for m in members if m.isfile()} == {0o644}
    assert [m.name for m in members if m.isdir()] == [
        "models",
        "models/sdxl",
        "models/sdxl/deep",
        "models/sdxl/deep/er",
    ]


@pytest.mark.parametrize("step", [1, 7, 512, 1 << 20])
def test_however_it_is_read_it_is_the_same(step: int) -> None:
    small, _ = layers_of(manifest_of(SMALL), "/m")
    assert read(small, Files(SMALL), step) == read(small, Files(SMALL))


def test_a_file_of_more_than_eight_gigabytes_has_its_size_written_out() -> None:
    entry = manifest_of({"a": b""}).entries[0]
    large = Manifest.of("m", "v", [type(entry)(entry.path, 10 << 30, entry.sha256)])
    layer, _ = layers_of(large, "/m")
    head = b"".join(segment for segment in layer.segments() if isinstance(segment, bytes))
    with tarfile.open(fileobj=io.BytesIO(head)) as archive:
        assert [(m.name, m.size) for m in (archive.next(), archive.next()) if m] == [("m", 0), ("m/a", 10 << 30)]
    assert layer.size_bytes == len(head) + (10 << 30)


def test_large_files_are_alone_and_small_ones_share_up_to_a_bound() -> None:
    sizes = {"a": 10, "b": ALONE_BYTES, "c": 10} | {f"d{n}": ALONE_BYTES - 1 for n in range(9)}
    entry = manifest_of({"a": b""}).entries[0]
    manifest = Manifest.of("m", "v", [type(entry)(type(entry.path)(p), s, entry.sha256) for p, s in sizes.items()])
    layers = layers_of(manifest, "/m")
    assert [layer.title for layer in layers] == ["b", "9 files", "2 files", ".syncd/manifest.json"]
    assert all(sum(m.size_bytes for m in layer.members) <= GROUP_BYTES for layer in layers)
    assert {m.path for layer in layers for m in layer.members} == {*sizes, ".syncd/manifest.json"}


def test_only_the_layers_whose_files_changed_have_another_recipe() -> None:
    one = layers_of(manifest_of({"big": content("1", ALONE_BYTES), "small": b"1"}, version="v1"), "/m")
    two = layers_of(manifest_of({"big": content("1", ALONE_BYTES), "small": b"2"}, version="v2"), "/m")
    assert [a.recipe == b.recipe for a, b in zip(one, two, strict=True)] == [True, False, False]
    elsewhere = layers_of(manifest_of({"big": content("1", ALONE_BYTES), "small": b"1"}, version="v1"), "/n")
    assert not {layer.recipe for layer in one} & {layer.recipe for layer in elsewhere}


def test_a_name_that_would_remove_something_is_refused() -> None:
    with pytest.raises(Invalid, match=r"a/\.wh\.b: in a layer this name removes a file"):
        layers_of(manifest_of({"a/.wh.b": b""}), "/m")


def test_a_source_that_breaks_off_is_opened_again_where_it_was() -> None:
    data = content("f", 3 << 20)
    layer, _ = layers_of(manifest_of({"f": data}), "/m")
    files = Files({"f": data})
    files.breaks["f"] = 2
    assert data in read(layer, files, 1 << 20)
    assert [offset for _, offset in files.opened] == [0, 1 << 20, 2 << 20]


def test_a_source_that_always_breaks_off_fails() -> None:
    layer, _ = layers_of(manifest_of({"f": b"12"}), "/m")
    tries = 0

    def broken(entry: object, offset_bytes: int) -> Files:
        nonlocal tries
        tries += 1
        raise Unavailable("broken")

    with pytest.raises(Unavailable, match="broken"):
        read(layer, broken)  # type: ignore[arg-type]
    assert tries == 6


def test_a_source_without_the_file_is_not_queried_twice() -> None:
    layer, _ = layers_of(manifest_of({"f": b"12"}), "/m")
    tries = 0

    def gone(entry: object, offset_bytes: int) -> Files:
        nonlocal tries
        tries += 1
        raise NotFound("gone")

    with pytest.raises(NotFound, match="gone"):
        read(layer, gone)  # type: ignore[arg-type]
    assert tries == 1


@pytest.mark.parametrize(
    ("served", "why"), [(b"12x", "expected sha256"), (b"12", "ended after 2 bytes, the manifest has 3")]
)
def test_a_file_that_is_not_the_manifests_is_refused(served: bytes, why: str) -> None:
    layer, _ = layers_of(manifest_of({"f": b"123"}), "/m")
    with pytest.raises(Corrupt, match=f"f: {why}"):
        read(layer, Files({"f": served}))
