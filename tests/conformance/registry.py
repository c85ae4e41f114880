"""Conformance of a registry. A binding subclasses `RegistryConformance` and defines how versions are created."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest
from syncd.artifact.names import FilePath, ModelName
from syncd.errors import Conflict, Corrupt, Invalid, NotFound, SyncdError, Unavailable
from syncd.reconcile.discovery.catalog import catalog
from syncd.registry.base import Registry
from syncd.values.source import Revision, ends_at

from tests.support.sources import rest_of
from tests.support.tensors import safetensors

SDXL = ModelName("sdxl")
LORA = ModelName("team/lora")
FILES: Mapping[str, bytes] = {
    "config.json": b"{}",
    "empty": b"",
    "unet/weights.safetensors": safetensors({"w": bytes(range(256)) * 300}),
}


def read(registry: Registry, model: ModelName, revision: Revision, path: str, offset_bytes: int = 0) -> bytes:
    """All bytes of a file, in pieces of an odd size."""
    data = bytearray()
    buffer = memoryview(bytearray(7001))
    with registry.open(model, revision, FilePath(path), offset_bytes) as stream:
        while count := stream.readinto(buffer):
            data += buffer[:count]
    return bytes(data)


class RegistryConformance(ABC):
    """One suite for every implementation. The binding writes by other means than the registry reads."""

    unfinished: tuple[type[SyncdError], ...] = (Unavailable,)
    """The error for a version that is being written: NotFound where it has no name until it is complete."""

    numbered = "v"
    """The prefix of the number in a version's name; some registries have numbers only."""

    pins_are_content = False
    """Whether a pin still has its bytes when its name moves (a commit, a digest)."""

    changed_is_unfinished = False
    """Whether a version that no longer matches its list counts as one that is being written."""

    @pytest.fixture
    @abstractmethod
    def registry(self) -> Registry:
        """A registry that selects every model, with nothing in it."""

    @abstractmethod
    def publish(self, model: str, version: str, files: Mapping[str, bytes]) -> None:
        """Add a complete version, newer than all before it."""

    @abstractmethod
    def begin(self, model: str, version: str, files: Mapping[str, bytes]) -> None:
        """Add a version that is still being written."""

    @abstractmethod
    def overwrite(self, model: str, version: str, path: str, data: bytes) -> None:
        """Change a file of a complete version, against the rules."""

    @abstractmethod
    def cut_off(self) -> None:
        """Make the registry unreachable."""

    def v(self, number: int) -> str:
        """A version's name."""
        return f"{self.numbered}{number}"

    def test_an_empty_registry_shows_nothing(self, registry: Registry) -> None:
        assert list(registry.discover()) == []

    def test_complete_versions_are_discovered_oldest_first(self, registry: Registry) -> None:
        for model, version in (
            ("sdxl", self.v(9)),
            ("team/lora", self.v(1)),
            ("sdxl", self.v(10)),
            ("sdxl", self.v(1)),
        ):
            self.publish(model, version, FILES)
        found = [(candidate.model, candidate.version) for candidate in registry.discover()]
        assert [version for model, version in found if model == "sdxl"] == [self.v(9), self.v(10), self.v(1)]
        assert ("team/lora", self.v(1)) in found
        assert len(found) == 4

    def test_of_one_model_alone_the_same_is_discovered_as_among_all(self, registry: Registry) -> None:
        for model in ("sdxl", "team/lora", "team/lora-xl"):
            for number in (2, 1):
                self.publish(model, self.v(number), FILES)
        among_all = registry.discover()
        for model in (SDXL, LORA):
            assert list(registry.discover(model)) == [each for each in among_all if each.model == model]
            assert len(registry.discover(model)) == 2
        for model in ("unheard-of", "team", "team/unheard-of", "sdxl/v1"):
            assert list(registry.discover(ModelName(model))) == []

    def test_a_version_that_is_still_being_written_is_not_discovered_nor_resolved(self, registry: Registry) -> None:
        self.begin("sdxl", self.v(1), FILES)
        assert list(registry.discover()) == []
        with pytest.raises(self.unfinished):
            registry.resolve(SDXL, self.v(1))

    def test_a_version_is_discovered_once_it_is_complete(self, registry: Registry) -> None:
        self.begin("sdxl", self.v(1), FILES)
        assert list(registry.discover()) == []
        self.publish("sdxl", self.v(1), FILES)
        assert [candidate.version for candidate in registry.discover()] == [self.v(1)]

    def test_resolving_twice_gives_the_same_pin(self, registry: Registry) -> None:
        self.publish("sdxl", self.v(1), FILES)
        revision = registry.resolve(SDXL, self.v(1))
        assert revision.version == self.v(1)
        assert revision.pin
        assert registry.resolve(SDXL, self.v(1)) == revision

    def test_latest_is_the_newest_complete_version(self, registry: Registry) -> None:
        self.publish("sdxl", self.v(2), FILES)
        self.publish("sdxl", self.v(1), FILES)
        self.begin("sdxl", self.v(3), FILES)
        assert registry.resolve(SDXL, "latest").version == self.v(1)

    def test_what_is_not_there_is_not_found(self, registry: Registry) -> None:
        self.publish("sdxl", self.v(1), FILES)
        with pytest.raises(NotFound):
            registry.resolve(SDXL, self.v(2))
        with pytest.raises(NotFound):
            registry.resolve(ModelName("unheard-of"), self.v(1))
        revision = registry.resolve(SDXL, self.v(1))
        with pytest.raises(NotFound):
            registry.open(SDXL, revision, FilePath("unheard-of"))

    @pytest.mark.parametrize("ref", ["../sdxl/v1", "", "v1/..", "a b", "v1\x00", "/v1", "-v1"])
    def test_a_ref_that_is_not_a_name_is_refused(self, registry: Registry, ref: str) -> None:
        self.publish("sdxl", self.v(1), FILES)
        with pytest.raises(Invalid):
            registry.resolve(SDXL, ref)

    def test_the_listing_has_every_file_and_no_marker(self, registry: Registry) -> None:
        self.publish("team/lora", self.v(1), FILES)
        listing = registry.listing(LORA, registry.resolve(LORA, self.v(1)))
        assert {file.path: file.size_bytes for file in listing} == {path: len(data) for path, data in FILES.items()}
        for file in listing:
            assert file.sha256 is None or file.sha256.hex == sha256(FILES[file.path]).hexdigest()

    @pytest.mark.parametrize("path", sorted(FILES))
    def test_a_file_is_read_whole(self, registry: Registry, path: str) -> None:
        self.publish("sdxl", self.v(1), FILES)
        assert read(registry, SDXL, registry.resolve(SDXL, self.v(1)), path) == FILES[path]

    @pytest.mark.parametrize("offset_bytes", [1, 255, 7001, 76_799, 76_800])
    def test_a_file_is_read_from_an_offset(self, registry: Registry, offset_bytes: int) -> None:
        self.publish("sdxl", self.v(1), FILES)
        path = "unet/weights.safetensors"
        assert read(registry, SDXL, registry.resolve(SDXL, self.v(1)), path, offset_bytes) == FILES[path][offset_bytes:]

    def test_a_part_of_a_file_ends_where_the_stream_says(self, registry: Registry) -> None:
        self.publish("sdxl", self.v(1), FILES)
        path, revision = FilePath("unet/weights.safetensors"), registry.resolve(SDXL, self.v(1))
        data = FILES[path]
        for offset_bytes, until_bytes in ((0, 100), (100, 7001), (7001, len(data))):
            with registry.open(SDXL, revision, path, offset_bytes, until_bytes=until_bytes) as stream:
                end_bytes = ends_at(stream) or len(data)
                assert end_bytes in {until_bytes, len(data)}
                assert rest_of(stream) == data[offset_bytes:end_bytes]

    def test_a_changed_file_is_a_conflict_and_never_followed(self, registry: Registry) -> None:
        self.publish("sdxl", self.v(1), FILES)
        revision = registry.resolve(SDXL, self.v(1))
        self.overwrite("sdxl", self.v(1), "config.json", b'{"other": 1}')
        if self.pins_are_content:
            assert registry.resolve(SDXL, self.v(1)).pin != revision.pin
            assert {file.path: file.size_bytes for file in registry.listing(SDXL, revision)}[
                FilePath("config.json")
            ] == 2
            assert read(registry, SDXL, revision, "config.json") == FILES["config.json"]
            return
        with pytest.raises(Conflict):
            registry.listing(SDXL, revision)
        with pytest.raises((Conflict, Corrupt)):  # at once, or where the size is unknown before, at the first bytes
            read(registry, SDXL, revision, "config.json")

    def test_other_bytes_under_a_published_name_are_another_version_which_a_poll_reports(
        self, registry: Registry
    ) -> None:
        self.publish("sdxl", self.v(1), FILES)
        then = registry.resolve(SDXL, self.v(1))
        published = catalog(registry, SDXL, then, threading.Event())
        self.overwrite("sdxl", self.v(1), "config.json", b'{"other": 1}')
        if self.changed_is_unfinished:
            with pytest.raises(Unavailable):
                registry.resolve(SDXL, self.v(1))
            with pytest.raises(Conflict):
                registry.listing(SDXL, then)
            return
        assert [candidate.version for candidate in registry.discover()] == [self.v(1)]
        now = registry.resolve(SDXL, self.v(1))
        assert now.version == then.version
        assert now.pin != then.pin
        assert catalog(registry, SDXL, now, threading.Event()).digest != published.digest

    def test_a_version_that_stays_as_it_is_stays_the_same_version(self, registry: Registry) -> None:
        self.publish("sdxl", self.v(1), FILES)
        published = catalog(registry, SDXL, registry.resolve(SDXL, self.v(1)), threading.Event())
        self.publish("sdxl", self.v(2), FILES)
        again = registry.resolve(SDXL, self.v(1))
        assert catalog(registry, SDXL, again, threading.Event()) == published
        assert {entry.path: entry.sha256.hex for entry in published.entries} == {
            path: sha256(data).hexdigest() for path, data in FILES.items()
        }

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            ({"w-00001-of-00002.gguf": b"GGUF" + bytes(20)}, "w-00002-of-00002.gguf is missing"),
            ({"w.gguf": b"<html>Please log in"}, "w.gguf is an HTML page, not the file"),
            ({"w.safetensors": (2).to_bytes(8, "little") + b"{}12"}, "its tensors end at 10"),
            ({"m.safetensors.index.json": b'{"weight_map": {"a": "w-1"}}'}, "w-1 is missing"),
        ],
    )
    def test_a_version_that_is_not_whole_is_found_before_a_byte_moves(
        self, registry: Registry, damage: Mapping[str, bytes], message: str
    ) -> None:
        self.publish("sdxl", self.v(1), {**FILES, **damage})
        with pytest.raises((Corrupt, Invalid), match=message):
            catalog(registry, SDXL, registry.resolve(SDXL, self.v(1)), threading.Event())

    def test_a_registry_that_is_cut_off_is_unavailable_not_empty(self, registry: Registry) -> None:
        self.publish("sdxl", self.v(1), FILES)
        revision = registry.resolve(SDXL, self.v(1))
        self.cut_off()
        for call in (
            registry.discover,
            lambda: registry.discover(SDXL),
            lambda: registry.resolve(SDXL, self.v(1)),
            lambda: registry.resolve(SDXL, "latest"),
            lambda: registry.listing(SDXL, revision),
            lambda: registry.open(SDXL, revision, FilePath("config.json")),
        ):
            with pytest.raises(Unavailable) as caught:
                call()
            assert caught.value.hint

    def test_several_threads_read_at_once(self, registry: Registry) -> None:
        self.publish("sdxl", self.v(1), FILES)
        revision = registry.resolve(SDXL, self.v(1))
        with ThreadPoolExecutor(4) as pool:
            paths = sorted(FILES) * 8
            assert list(pool.map(lambda path: read(registry, SDXL, revision, path), paths)) == [FILES[p] for p in paths]
            assert len(set(pool.map(lambda _: registry.resolve(SDXL, self.v(1)).pin, range(8)))) == 1

    def test_only_an_existing_file_has_a_location(self, registry: Registry) -> None:
        self.publish(SDXL, self.v(1), FILES)
        revision = registry.resolve(SDXL, self.v(1))
        for path in FILES:
            location = registry.location_of(SDXL, revision, FilePath(path))
            assert location is None or location.key.endswith(f"{SDXL}/{self.v(1)}/{path}")
