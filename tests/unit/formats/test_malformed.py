"""What cannot be understood is refused by name; what is too large to be read is not judged."""

from __future__ import annotations

import hashlib
import json
import struct

import pytest
from syncd.errors import Corrupt, Invalid
from syncd.formats import documents, indexes
from syncd.formats.contents import Contents, Need
from syncd.formats.parsers import pickles, tensorflow, zips
from syncd.formats.version import misnamed_blobs

from tests.unit.formats.reading import both, ranged, sample
from tests.unit.formats.written import zip_like_torch


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("adapter_config.json", "[]"),
        ("adapter_config.json", "{"),
        ("model_index.json", "[]"),
        ("model_index.json", '{"../up": ["a", "B"]}'),
        ("modules.json", "{"),
        ("modules.json", '[{"type": "sentence_transformers.models.Pooling", "path": "../1"}]'),
        ("manifests/host/name/tag", "{}"),
        ("manifests/host/name/tag", "nothing"),
        ("manifests/host/name/tag", '{"layers": [{"digest": "sha256:5"}]}'),
        ("manifests/host/name/tag", '{"layers": [5]}'),
    ],
)
def test_a_document_that_names_others_has_to_be_understood(path: str, document: str) -> None:
    with pytest.raises(Invalid) as caught:
        ranged(path, document.encode())
    assert path in caught.value.message
    assert json.dumps(path) in caught.value.hint


@pytest.mark.parametrize("path", ["adapter_config.json", "model_index.json", "modules.json"])
def test_a_document_that_is_too_large_is_refused(path: str) -> None:
    with pytest.raises(Invalid, match="at most 1048576 are read"):
        ranged(path, b" " * (documents.DOCUMENT_BYTES_MAX + 1))


def test_lists_of_modules_of_other_tools_need_nothing() -> None:
    for document in ({"name": "x"}, [5, {"type": 1, "path": 2}, {"type": "mine.Pooling", "path": "1"}]):
        assert ranged("modules.json", json.dumps(document).encode()).needs == ()


def test_a_manifest_needs_its_blobs_in_its_own_store() -> None:
    digest = "a" * 64
    document = {"layers": [{"digest": f"sha256:{digest}", "size": 5}, {"digest": f"sha256:{digest}", "size": "?"}]}
    found = ranged("store/manifests/host/library/name/tag", json.dumps(document).encode())
    assert found.needs == (Need(f"store/blobs/sha256-{digest}", 5), Need(f"store/blobs/sha256-{digest}"))
    assert ranged("manifests/a.json", b"anything") == Contents()


def test_a_blob_is_held_against_its_name() -> None:
    right = hashlib.sha256(b"1").hexdigest()
    assert misnamed_blobs({f"blobs/sha256-{right}": right, "blobs/other": "0", "a": right}) is None
    wrong = misnamed_blobs({f"s/blobs/sha256-{right}": "0" * 64})
    assert isinstance(wrong, Corrupt)
    assert wrong.message == f"s/blobs/sha256-{right} has sha256 {'0' * 64}, its name says another"


def test_what_is_larger_than_is_read_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zips, "_DIRECTORY_BYTES_MAX", 10)
    archive = zip_like_torch({"data.pkl": 5})
    for name in ("m.pt", "m.keras", "m.npz"):
        assert ranged(name, archive).is_whole is False
    monkeypatch.setattr(tensorflow, "INDEX_BYTES_MAX", 10)
    assert ranged("variables.index", sample("variables.index")).is_whole is False
    monkeypatch.setattr(documents, "OPENVINO_BYTES_MAX", 10)
    assert ranged("m.xml", b"<net name='m'></net>") == Contents("openvino", needs=(Need("m.bin"),), is_whole=False)


def test_a_pickle_too_large_to_be_read_ends_as_a_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, "HEAD_BYTES_MAX", 70_000)
    large = b"\x80\x02X" + struct.pack("<I", 100_000) + b"a" * 100_000
    assert ranged("m.pt", large + b".") == Contents("pickle", is_whole=False)
    with pytest.raises(Corrupt, match="the last of which is not the end of a pickle"):
        ranged("m.pt", large)
    legacy = sample("torch-legacy.pt")
    magic = legacy[: legacy.index(b".") + 1]
    assert ranged("m.pt", magic + large) == Contents("pickle", is_whole=False)


def test_a_storage_of_a_type_that_is_not_known_is_not_counted() -> None:
    changed = sample("torch-legacy.pt").replace(b"torch\nFloatStorage", b"torch\nOtherStorage")
    assert ranged("m.pt", changed) == Contents("torch", is_whole=False)


def changed_directory(data: bytes, at: int, value: bytes) -> bytes:
    """An archive whose first entry of the directory has other bytes at an offset."""
    begin = data.index(b"PK\x01\x02")
    return data[: begin + at] + value + data[begin + at + len(value) :]


def test_a_directory_of_an_archive_is_read_to_its_end() -> None:
    data = zip_like_torch({"data.pkl": 100})
    with pytest.raises(Corrupt, match="of 1 entries that ends after 0"):
        ranged("m.pt", changed_directory(data, 0, b"PK\x01\x03"))
    with pytest.raises(Corrupt, match="goes on after them"):
        ranged("m.pt", changed_directory(data, 32, b"\x01\x00"))
    with pytest.raises(Corrupt, match="its directory begins at"):
        ranged("m.pt", changed_directory(data, 20, struct.pack("<I", 5000)))
    with pytest.raises(Corrupt, match="is said to end at"):
        ranged("m.pt", data.replace(b"PK\x01\x02", b"PK\x01\x02" + bytes(9), 1))


def test_sizes_of_large_entries_are_read_from_their_extra_field() -> None:
    extra = struct.pack("<2H2Q", 1, 16, 7, 1 << 40) + struct.pack("<2H", 9, 0)
    assert zips.long_sizes(extra, 0xFFFFFFFF, 0xFFFFFFFF, 5) == (1 << 40, 5)
    late = struct.pack("<2H", 9, 0) + struct.pack("<2HQ", 1, 8, 1 << 41)
    assert zips.long_sizes(late, 0, 5, 0xFFFFFFFF) == (5, 1 << 41)
    assert zips.long_sizes(b"", 0xFFFFFFFF, 0xFFFFFFFF, 6) == (0xFFFFFFFF, 6)


def test_an_archive_that_is_no_keras_model_is_refused() -> None:
    assert "has no config.json" in str(both("m.keras", zip_like_torch({"data.pkl": 5})))


def test_a_superblock_that_is_later_or_open_is_not_judged_and_one_that_is_wrong_is() -> None:
    data = sample("keras.weights.h5")
    assert ranged("m.h5", data[:8] + b"\x09" + data[9:]).is_whole is False
    assert ranged("m.h5", data[:40] + b"\xff" * 8 + data[48:]).is_whole is False
    with pytest.raises(Corrupt, match="its addresses have 3 bytes"):
        ranged("m.h5", data[:13] + b"\x03" + data[14:])


def test_a_name_of_another_kind_has_no_single_file() -> None:
    assert indexes.single_of("config.json") == ()
    with pytest.raises(Invalid, match="at most"):
        next(indexes.parse("m.safetensors.index.json", indexes.INDEX_BYTES_MAX + 1))
