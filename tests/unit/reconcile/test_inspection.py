"""A version is found damaged before a byte of it moves."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from syncd.artifact.names import ModelName
from syncd.artifact.weights import ADAPTER_BYTES_MAX
from syncd.errors import Cancelled, Corrupt, Invalid, SyncdError
from syncd.reconcile.discovery.catalog import catalog
from syncd.reconcile.discovery.inspection import inspect
from syncd.registry.settings import DirectorySettings
from syncd.registry.sources.directory import DirectoryRegistry
from syncd.values.source import Revision

from tests.support.tensors import gguf
from tests.unit.artifact.test_safetensors import TENSORS, file_of
from tests.unit.artifact.test_tensors import WEIGHTS
from tests.unit.artifact.test_weights import POINTER
from tests.unit.registry.trees import mark, write

MODEL = ModelName("llm")
SHARD = file_of(TENSORS)
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"


def index_of(*names: str) -> bytes:
    return json.dumps({"weight_map": dict(enumerate(names))}).encode()


WHOLE: Mapping[str, bytes] = {ONE: SHARD, TWO: SHARD, INDEX: index_of(ONE, TWO), "config.json": b"{}"}

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
    assert sorted(found.headers) == [ONE, TWO]
    assert [file.path for file in found.files] == sorted(WHOLE)


def test_a_gguf_file_and_an_adapter_tell_what_they_are(offer: Offer) -> None:
    adapter = json.dumps({"base_model_name_or_path": "acme/chat"}).encode()
    files = {"m.gguf": gguf(WEIGHTS), "lora/adapter_config.json": adapter}
    found = inspect(*pinned(offer(files)), threading.Event())
    assert found.gguf == {"m.gguf": len(WEIGHTS)}
    assert found.bases == {"lora/adapter_config.json": "acme/chat"}


def test_a_file_that_only_is_called_so_is_an_ordinary_one(offer: Offer) -> None:
    files = {"a.safetensors": b"not really", "b.safetensors": b"", "c.safetensors": bytes(100)}
    found = inspect(*pinned(offer(files)), threading.Event())
    assert found.headers == {}
    assert found.parameters == {}


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({ONE: SHARD[:-1]}, Corrupt, f"{ONE} has {len(SHARD) - 1} bytes"),
        ({ONE: SHARD[:50]}, Corrupt, "its header alone ends at"),
        ({ONE: SHARD + b"x"}, Corrupt, "its tensors end at"),
        ({ONE: None}, Invalid, f"{ONE} is missing"),
        ({INDEX: index_of(ONE, TWO, "more.safetensors")}, Invalid, r"more\.safetensors is missing: model\.safetensors"),
        ({INDEX: index_of("../../other/v1/x.safetensors")}, Invalid, "not beside it"),
        ({INDEX: index_of("/etc/passwd")}, Invalid, "/etc/passwd"),
        ({INDEX: b"{"}, Invalid, "no index"),
        ({"m-00001-of-00002.gguf": gguf(WEIGHTS)}, Invalid, r"m-00002-of-00002\.gguf is missing"),
        ({"m.gguf": b"<html>Please log in to download</html>"}, Corrupt, "m.gguf begins with"),
        ({"m.gguf": b""}, Corrupt, "m.gguf has 0 bytes"),
        ({"unet/m.bin": POINTER}, Corrupt, "unet/m.bin is a pointer of git LFS"),
        ({"adapter_config.json": b"{"}, Invalid, "adapter_config.json is no configuration"),
        ({"adapter_config.json": bytes(ADAPTER_BYTES_MAX + 1)}, Invalid, "at most 1048576 are read of it"),
    ],
)
def test_what_is_not_whole_is_refused_by_name(
    offer: Offer, changes: Mapping[str, bytes | None], kind: type[SyncdError], message: str
) -> None:
    files = {path: data for path, data in {**WHOLE, **changes}.items() if data is not None}
    with pytest.raises(kind, match=message):
        catalog(*pinned(offer(files)), threading.Event())


def test_an_index_that_is_too_large_is_not_read(offer: Offer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.reconcile.discovery.inspection.INDEX_BYTES_MAX", 10)
    with pytest.raises(Invalid, match="at most 10 are read"):
        inspect(*pinned(offer(WHOLE)), threading.Event())


def test_looking_stops_when_it_is_told_to(offer: Offer) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        inspect(*pinned(offer(WHOLE)), stop)
