"""Layers that are tars: their files are found, read from any offset, and bounded."""

from __future__ import annotations

import hashlib
import io
import random
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from typing import Self

import pytest
from syncd.artifact.names import FilePath
from syncd.errors import Corrupt, Invalid, Unavailable
from syncd.http.decompress import ENCODINGS, DecompressedStream
from syncd.registry.oci.registry import OciRegistry

from tests.conformance.registry import read
from tests.emulators.distribution import digest, layer
from tests.emulators.tars import KIT, MODELPACK, layer_of, packed, packed_with_window, tar_of, tar_with
from tests.emulators.web import Reply
from tests.unit.registry.test_oci import SDXL, TITLE, OciWeb, listed, registry_of

WEIGHTS = bytes(range(256)) * 4000
FILES = {"model/config.json": b"{}", "model/weights.bin": WEIGHTS, "model/empty": b""}


@pytest.fixture
def oci() -> Iterator[OciWeb]:
    oci = OciWeb()
    with oci.web:
        yield oci


def push(oci: OciWeb, *blobs: bytes, kind: str = KIT, notes: Mapping[str, str] | None = None) -> OciRegistry:
    oci.blobs |= {digest(blob): blob for blob in blobs}
    oci.put("v1", {"layers": [layer_of(blob, kind, notes) for blob in blobs]})
    return registry_of(oci)


@pytest.mark.parametrize(
    ("kind", "notes"),
    [
        (KIT, {}),
        (f"{KIT}+gzip", {}),
        (MODELPACK, {"org.cncf.model.filepath": "model"}),
        (f"{KIT}+zstd", {}),
        (f"{MODELPACK}+zstd", {"org.cncf.model.filepath": "model"}),
        ("application/vnd.oci.image.layer.v1.tar+zstd", {TITLE: "model"}),
        (f"{MODELPACK}+gzip", {"org.cncf.model.filepath": "model"}),
        ("application/vnd.oci.image.layer.v1.tar+gzip", {TITLE: "model"}),
        ("application/vnd.oci.image.layer.v1.tar+gzip", {TITLE: "m.tgz", "io.deis.oras.content.unpack": "true"}),
    ],
)
def test_files_in_a_tar_are_the_files_of_the_version(oci: OciWeb, kind: str, notes: Mapping[str, str]) -> None:
    tar = tar_of(FILES)
    registry = push(oci, packed(tar, kind.partition("+")[2]) if "+" in kind else tar, kind=kind, notes=notes)
    revision = registry.resolve(SDXL, "v1")
    listing = registry.listing(SDXL, revision)
    assert {file.path: file.size_bytes for file in listing} == {path: len(data) for path, data in FILES.items()}
    assert {file.path: file.sha256.hex for file in listing if file.sha256} == {
        path: hashlib.sha256(data).hexdigest() for path, data in FILES.items()
    }
    for path, data in FILES.items():
        assert read(registry, SDXL, revision, path) == data
    for offset_bytes in (1, 511, 70_001, len(WEIGHTS) - 1, len(WEIGHTS)):
        assert read(registry, SDXL, revision, "model/weights.bin", offset_bytes) == WEIGHTS[offset_bytes:]


def test_finding_and_pinning_a_version_reads_no_layer_and_listing_reads_each_once(oci: OciWeb) -> None:
    plain, zipped = tar_of({"a": b"1"}), packed(tar_of({"b": b"2"}))
    registry = push(oci, plain, zipped)
    oci.put("v1", {"layers": [layer_of(plain), layer_of(zipped, f"{KIT}+gzip")]})
    registry.discover()
    revision = registry.resolve(SDXL, "v1")

    def blobs() -> int:
        return sum("/blobs/" in request.path for request in oci.web.seen)

    assert blobs() == 0
    for _ in range(3):
        assert [file.path for file in registry.listing(SDXL, revision)] == ["a", "b"]
    assert blobs() == 2


def test_a_file_in_a_plain_tar_is_requested_by_its_range(oci: OciWeb) -> None:
    registry = push(oci, tar_of(FILES))
    revision = registry.resolve(SDXL, "v1")
    registry.listing(SDXL, revision)
    read(registry, SDXL, revision, "model/weights.bin", 1000)
    asked = [request.headers.get("range") for request in oci.web.seen if "/blobs/" in request.path]
    assert asked[0] is None
    assert asked[1] is not None
    assert int(asked[1].removeprefix("bytes=").removesuffix("-")) > 1000


def test_layers_that_are_files_and_layers_that_are_tars_go_together(oci: OciWeb) -> None:
    tar = tar_of({"tokenizer/vocab": b"1"})
    oci.blobs |= {digest(tar): tar, digest(b"2"): b"2"}
    oci.put("v1", {"layers": [layer("modelpack", "w.bin", b"2"), layer_of(tar)]})
    assert listed(registry_of(oci)) == ["tokenizer/vocab", "w.bin"]
    oci.put("v2", {"layers": [layer("modelpack", "tokenizer/vocab", b"2"), layer_of(tar)]})
    with pytest.raises(Invalid, match="tokenizer/vocab"):
        listed(registry_of(oci), "v2")


def test_a_blob_that_is_not_its_digest_is_corrupt(oci: OciWeb) -> None:
    registry = push(oci, tar_of({"a": b"1"}))
    (name,) = oci.blobs
    oci.blobs[name] = tar_of({"a": b"2"})
    with pytest.raises(Corrupt, match=r"expected the digest sha256:.*, got sha256"):
        listed(registry)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tar, _: tar, "is not PACKING"),
        (lambda tar, packing: packed(tar, packing)[:-9], "ends in the middle of the PACKING data"),
        (lambda _, packing: packed(b"x" * 2000, packing), "is not a tar"),
        (lambda tar, packing: packed(tar, packing) + b"trailing", "is not PACKING"),
    ],
)
@pytest.mark.parametrize("packing", ENCODINGS)
def test_a_layer_that_cannot_be_decompressed_is_corrupt(
    oci: OciWeb, change: Callable[[bytes, str], bytes], message: str, packing: str
) -> None:
    blob = change(tar_of({"a": random.Random(1).randbytes(5000)}), packing)
    with pytest.raises(Corrupt, match=message.replace("PACKING", packing)):
        listed(push(oci, blob, kind=f"{KIT}+{packing}"))


@pytest.mark.parametrize("packing", ENCODINGS)
def test_several_compressed_pieces_are_one_stream(oci: OciWeb, packing: str) -> None:
    tar = tar_of(FILES)
    between = bytes(100) if packing == "gzip" else b"\x50\x2a\x4d\x18\x05\0\0\0index"  # which zstd's readers pass over
    blob = packed(tar[:700], packing) + (between if packing == "zstd" else b"") + packed(tar[700:], packing) + between
    registry = push(oci, blob, kind=f"{KIT}+{packing}")
    assert read(registry, SDXL, registry.resolve(SDXL, "v1"), "model/weights.bin") == WEIGHTS


@pytest.mark.parametrize("packing", ENCODINGS)
def test_a_bomb_is_refused_before_it_is_unpacked(oci: OciWeb, monkeypatch: pytest.MonkeyPatch, packing: str) -> None:
    monkeypatch.setattr("syncd.registry.oci.layers._UNPACKED_LEAST_BYTES", 1 << 20)
    registry = push(oci, packed(tar_of({"a": bytes(32 << 20)}), packing), kind=f"{KIT}+{packing}")
    with pytest.raises(Invalid, match="decompresses to more than"):
        listed(registry)


def test_a_window_that_would_take_much_memory_is_refused(oci: OciWeb) -> None:
    for log, is_taken in ((25, True), (26, False)):
        registry = push(oci, packed_with_window(tar_of({"a": b"1"}), log), kind=f"{KIT}+zstd")
        if is_taken:
            assert listed(registry) == ["a"]
        else:
            with pytest.raises(Corrupt, match="too much memory"):
                listed(registry)


def test_unpacking_holds_no_more_than_the_window_and_a_few_pieces() -> None:
    blob = packed(random.Random(1).randbytes(1 << 20) * 64, "zstd")
    tracemalloc.start()
    try:
        found = hashlib.sha256()
        buffer = memoryview(bytearray(1 << 16))
        with DecompressedStream(_Bytes(blob), "zstd", 1 << 30, "a blob") as stream:
            while count := stream.readinto(buffer):
                found.update(buffer[:count])
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.digest() == hashlib.sha256(random.Random(1).randbytes(1 << 20) * 64).digest()
    assert peak_bytes < 4 << 20


class _Bytes:
    """A stream of these bytes."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    def readinto(self, buffer: memoryview) -> int:
        return self._stream.readinto(buffer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


def test_a_tar_of_too_many_files_is_refused(oci: OciWeb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.registry.oci.layers.FILES_MAX", 10)
    with pytest.raises(Invalid, match="more than 10 files") as refused:
        listed(push(oci, tar_of({str(number): b"" for number in range(11)})))
    assert "transfer.files_max" in refused.value.hint


def test_the_cache_of_tar_indexes_is_bounded(oci: OciWeb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.registry.oci.layers._REMEMBERED_MAX", 3)
    registry = push(oci, *(tar_of({f"{number}/a": b"", f"{number}/b": b""}) for number in range(3)))
    for _ in range(2):
        assert len(listed(registry)) == 6
    assert sum("/blobs/" in request.path for request in oci.web.seen) == 6


def test_a_link_in_a_tar_is_refused_by_name_and_the_version_stays_out(oci: OciWeb) -> None:
    with pytest.raises(Invalid, match="'evil' is a symbolic link"):
        listed(push(oci, tar_with("evil", tarfile.SYMTYPE, "/etc/passwd")))


def test_a_layer_that_breaks_off_is_unavailable_and_read_again(oci: OciWeb) -> None:
    registry = push(oci, tar_of(FILES))
    (blob,) = oci.blobs.values()
    oci.web.faults.append(lambda request: Reply(200, {}, blob, cut_after=5000) if "/blobs/" in request.path else None)
    with pytest.raises(Unavailable):
        listed(registry)
    oci.web.faults.clear()
    revision = registry.resolve(SDXL, "v1")
    assert len(registry.listing(SDXL, revision)) == 3
    changed = tar_of({"model/weights.bin": WEIGHTS})[: len(blob) - 4096].ljust(len(blob), b"\0")
    oci.blobs[digest(blob)] = changed
    with registry.open(SDXL, revision, FilePath("model/empty")) as stream:
        assert stream.readinto(memoryview(bytearray(10))) == 0
