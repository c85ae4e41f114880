"""A damaged version is detected before a byte of it moves."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from syncd.artifact.digest import Digest
from syncd.artifact.names import FilePath, ModelName
from syncd.errors import Cancelled, Corrupt, Invalid, SyncdError
from syncd.formats.documents import DOCUMENT_BYTES_MAX
from syncd.reconcile.discovery.catalog import catalog
from syncd.reconcile.discovery.inspection import inspect
from syncd.registry.settings import DirectorySettings
from syncd.registry.sources.directory import DirectoryRegistry
from syncd.values.source import Revision, Stream

from tests.support.tensors import gguf
from tests.unit.formats.test_safetensors import TENSORS, file_of
from tests.unit.formats.test_tensors import WEIGHTS
from tests.unit.formats.written import zip_like_torch
from tests.unit.registry.trees import mark, write

MODEL = ModelName("llm")
SHARD = file_of(TENSORS)
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"


def index_of(*names: str) -> bytes:
    return json.dumps({"weight_map": dict(enumerate(names))}).encode()


WHOLE: Mapping[str, bytes] = {ONE: SHARD, TWO: SHARD, INDEX: index_of(ONE, TWO), "config.json": b"{}"}

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"7" * 64 + b"\nsize 499723\n"

Offer = Callable[[Mapping[str, bytes]], DirectoryRegistry]


@pytest.fixture(params=["READY", "SHA256SUMS"])
def offer(tmp_path: Path, request: pytest.FixtureRequest) -> Offer:
    """A registry with one version of these files, with digests and without."""

    def made(files: Mapping[str, bytes]) -> DirectoryRegistry:
        write(tmp_path / "llm/v1", files)
        mark(tmp_path / "llm/v1", request.param)
        return DirectoryRegistry(DirectorySettings(tmp_path, ("*",), 0))

    return made


def pinned(registry: DirectoryRegistry) -> tuple[DirectoryRegistry, ModelName, Revision]:
    return registry, MODEL, registry.resolve(MODEL, "v1")


def test_what_is_in_a_version_is_told_without_reading_it(offer: Offer) -> None:
    found = inspect(*pinned(offer(WHOLE)), threading.Event())
    assert found.parameters == {"BF16": 14, "F32": 2}
    assert [path for path, each in found.contents.items() if each.format == "safetensors"] == [ONE, TWO]
    assert [file.path for file in found.files] == sorted(WHOLE)


def test_a_gguf_file_and_an_adapter_tell_what_they_are(offer: Offer) -> None:
    adapter = json.dumps({"base_model_name_or_path": "acme/chat"}).encode()
    files = {"m.gguf": gguf(WEIGHTS), "lora/adapter_config.json": adapter, "lora/adapter_model.safetensors": SHARD}
    found = inspect(*pinned(offer(files)), threading.Event())
    assert found.contents["m.gguf"].tensors == len(WEIGHTS)
    assert found.contents["lora/adapter_config.json"].base == "acme/chat"


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({ONE: SHARD[:-1]}, Corrupt, f"{ONE} has {len(SHARD) - 1} bytes"),
        ({ONE: SHARD[:50]}, Corrupt, "its header alone ends at"),
        ({ONE: SHARD + b"x"}, Corrupt, "its tensors end at"),
        ({ONE: None}, Invalid, f"{ONE} is missing"),
        ({INDEX: index_of(ONE, TWO, "more.safetensors")}, Invalid, r"more\.safetensors is missing: model\.safetensors"),
        ({INDEX: index_of("../../other/v1/x.safetensors")}, Invalid, "not in its own folder"),
        ({INDEX: index_of("/etc/passwd")}, Invalid, "/etc/passwd"),
        ({INDEX: b"{"}, Invalid, "is not an index of shards: it ends too early"),
        ({"m-00001-of-00002.gguf": gguf(WEIGHTS)}, Invalid, r"m-00002-of-00002\.gguf is missing"),
        ({"m.gguf": b"<html>Please log in to download</html>"}, Corrupt, "m.gguf is an HTML page"),
        ({"m.gguf": b""}, Corrupt, "m.gguf is empty"),
        ({"unet/m.bin": POINTER}, Corrupt, "unet/m.bin is a pointer of git LFS"),
        ({"adapter_config.json": b"{"}, Invalid, "adapter_config.json is no configuration"),
        ({"adapter_config.json": bytes(DOCUMENT_BYTES_MAX + 1)}, Invalid, "at most 1048576 are read of it"),
    ],
)
def test_what_is_not_whole_is_refused_by_name(
    offer: Offer, changes: Mapping[str, bytes | None], kind: type[SyncdError], message: str
) -> None:
    files = {path: data for path, data in {**WHOLE, **changes}.items() if data is not None}
    with pytest.raises(kind, match=message):
        catalog(*pinned(offer(files)), threading.Event())


def test_an_index_that_is_too_large_is_not_read(offer: Offer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.formats.indexes.INDEX_BYTES_MAX", 10)
    with pytest.raises(Invalid, match="at most 10 are read"):
        inspect(*pinned(offer(WHOLE)), threading.Event())


def test_looking_stops_when_it_is_told_to(offer: Offer) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        inspect(*pinned(offer(WHOLE)), stop)


class Counting(DirectoryRegistry):
    """Counts what is opened, and how many bytes are read."""

    opened = 0
    read_bytes = 0

    def open(
        self,
        model: ModelName,
        revision: Revision,
        path: FilePath,
        offset_bytes: int = 0,
        *,
        sha256: Digest | None = None,
        until_bytes: int | None = None,
    ) -> Stream:
        self.opened += 1
        return _CountingStream(
            super().open(model, revision, path, offset_bytes, sha256=sha256, until_bytes=until_bytes), self
        )


class _CountingStream:
    def __init__(self, stream: Stream, counted: Counting) -> None:
        self._stream = stream
        self._counted = counted

    def readinto(self, buffer: memoryview) -> int:
        count = self._stream.readinto(buffer)
        self._counted.read_bytes += count
        return count

    def __enter__(self) -> _CountingStream:
        self._stream.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stream.__exit__(*exc)


def test_a_file_takes_at_most_two_reads_and_the_others_none(tmp_path: Path) -> None:
    large = zip_like_torch({"data.pkl": 100, "data/0": 20 << 20})
    files = {"model.pt": large, ONE: SHARD, TWO: SHARD, INDEX: index_of(ONE, TWO), "config.json": b"{}"}
    files |= {f"images/{number}.png": bytes(5000) for number in range(50)}
    mark(write(tmp_path / "llm/v1", files), "SHA256SUMS")
    registry = Counting(DirectorySettings(tmp_path, ("*",), 0))
    assert inspect(*pinned(registry), threading.Event()).unchecked == []
    assert registry.opened == 6  # the archive's head and tail, and each of the others
    assert registry.read_bytes < 400_000  # 64 KiB of its head and 256 KiB of its tail, and the small files


def test_a_version_takes_a_bounded_number_of_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.reconcile.discovery.inspection.READS_MAX", 10)
    files = {f"{number:02}.json": b"{}" for number in range(30)} | {"model.safetensors": SHARD}
    mark(write(tmp_path / "llm/v1", files), "SHA256SUMS")
    registry = Counting(DirectorySettings(tmp_path, ("*",), 0))
    found = inspect(*pinned(registry), threading.Event())
    assert registry.opened == 10
    assert found.contents["model.safetensors"].tensors == 3  # weights come first
    assert len(found.unchecked) == 31 - 10
