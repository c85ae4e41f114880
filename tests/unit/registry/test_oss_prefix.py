"""Prefix of a bucket: markers as objects, checksums of the bucket, and locations."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs
from syncd.artifact.digest import crc64
from syncd.artifact.names import FilePath, ModelName
from syncd.errors import Conflict, Invalid, NotFound, Refused, Unavailable
from syncd.registry.bucket_objects import ObjectSource
from syncd.registry.settings import PrefixSettings
from syncd.registry.sources.oss_prefix import PrefixRegistry
from syncd.store.base import Stat
from syncd.values.source import Location, Stream

from tests.conformance.registry import read

SDXL = ModelName("sdxl")
THEN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Bucket:
    """Objects in memory; counts requests, and fails on demand."""

    objects: dict[str, tuple[bytes, datetime]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    error: Exception | None = None

    def write(self, files: Mapping[str, bytes]) -> None:
        for key, data in files.items():
            self.objects[key] = (data, THEN + timedelta(seconds=len(self.objects)))

    def list(self, prefix: str) -> Iterator[Stat]:
        self._ask(f"list {prefix}")
        for key, (data, modified_at) in sorted(self.objects.items()):
            if key.startswith(prefix):
                yield Stat(key, len(data), None, modified_at)

    def stat(self, key: str) -> Stat:
        self._ask(f"stat {key}")
        if key not in self.objects:
            raise NotFound(key)
        data, modified_at = self.objects[key]
        return Stat(key, len(data), crc64(data), modified_at)

    def open(self, key: str, offset_bytes: int = 0, until_bytes: int | None = None) -> Stream:
        self._ask(f"open {key}")
        if key not in self.objects:
            raise NotFound(key)
        return _Bytes(self.objects[key][0][offset_bytes:])

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.error:
            raise self.error


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def readinto(self, buffer: memoryview) -> int:
        piece, self._data = self._data[: len(buffer)], self._data[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)

    def __enter__(self) -> _Bytes:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


def registry_of(objects: ObjectSource, *models: str) -> PrefixRegistry:
    return PrefixRegistry(PrefixSettings("training", "cn-hangzhou", "team/", models or ("*", "*/*")), objects)


def listed(registry: PrefixRegistry) -> list[str]:
    return [file.path for file in registry.listing(SDXL, registry.resolve(SDXL, "v1"))]


def sums(files: Mapping[str, bytes]) -> bytes:
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {path}\n" for path, data in files.items()).encode()


def test_leftovers_and_directory_markers_are_not_part_of_a_version(bucket: Bucket) -> None:
    bucket.write({"sdxl/v1/": b"", "sdxl/v1/sub/": b"", "sdxl/v1/a": b"1", "sdxl/v1/sub/b": b"2"})
    bucket.write({"sdxl/v1/x.tmp": b"", "sdxl/v1/.cache/x": b"", "sdxl/v1/sub/READY": b"", "sdxl/v1/READY": b""})
    assert listed(registry_of(bucket)) == ["a", "sub/READY", "sub/b"]


def test_listed_files_are_part_of_the_version(bucket: Bucket) -> None:
    files = {"a": b"1", "x.tmp": b"2"}
    bucket.write({f"sdxl/v1/{path}": data for path, data in files.items()})
    bucket.write({"sdxl/v1/SHA256SUMS": sums(files)})
    assert listed(registry_of(bucket)) == ["a", "x.tmp"]
    assert not any(what.startswith("stat") for what in bucket.asked)  # the list has all that is needed


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": b"1"}, "no marker yet"),
        ({"READY": b""}, "no files yet"),
        ({"a": b"1", "SHA256SUMS": sums({"a": b"1", "b": b"2"})}, "b is in SHA256SUMS but does not exist"),
        ({"a": b"1", "b": b"2", "SHA256SUMS": sums({"a": b"1"})}, "b exists but is not in SHA256SUMS"),
        ({"a": b"1", "SHA256SUMS": sums({"a": b"1"})[:-1]}, "middle of a line"),
        ({"a": b"1", "MANIFEST.json": b'{"files": [{"path": "a", "size": 2}]}'}, "MANIFEST.json has 2"),
        ({"a": b"1", "MANIFEST.json": b'{"files": ['}, "is not JSON"),
    ],
)
def test_an_incomplete_version_is_not_listed(bucket: Bucket, files: Mapping[str, bytes], message: str) -> None:
    bucket.write({f"sdxl/v1/{path}": data for path, data in files.items()})
    registry = registry_of(bucket)
    with pytest.raises(Unavailable, match=message):
        registry.resolve(SDXL, "v1")
    assert len(registry.discover()) == (1 if message == "no files yet" else 0)


def test_unlisted_files_belong_to_a_version_with_a_marker(bucket: Bucket) -> None:
    bucket.write({"sdxl/v1/a": b"1", "sdxl/v1/b": b"2", "sdxl/v1/SHA256SUMS": sums({"a": b"1"}), "sdxl/v1/READY": b""})
    assert listed(registry_of(bucket)) == ["a", "b"]


def test_the_buckets_own_checksum_is_in_the_pin(bucket: Bucket) -> None:
    bucket.write({"sdxl/v1/a": b"1", "sdxl/v1/READY": b""})
    registry = registry_of(bucket)
    revision = registry.resolve(SDXL, "v1")
    bucket.write({"sdxl/v1/a": b"2"})  # as long as before
    assert registry.resolve(SDXL, "v1").pin != revision.pin
    with pytest.raises(Conflict, match="as pinned"):
        registry.listing(SDXL, revision)
    with pytest.raises(Conflict, match="crc64"):
        registry.open(SDXL, revision, FilePath("a"))


def test_a_version_that_is_gone_is_not_found_and_one_that_lost_its_marker_is_a_conflict(bucket: Bucket) -> None:
    bucket.write({"sdxl/v1/a": b"1", "sdxl/v1/READY": b""})
    registry = registry_of(bucket)
    revision = registry.resolve(SDXL, "v1")
    del bucket.objects["sdxl/v1/READY"]
    with pytest.raises(Conflict, match="no longer complete"):
        registry.listing(SDXL, revision)
    bucket.objects.clear()
    with pytest.raises(NotFound):
        registry.listing(SDXL, revision)


def test_a_complete_version_is_not_checked_again(bucket: Bucket) -> None:
    bucket.write({"sdxl/v1/a": b"1", "sdxl/v1/SHA256SUMS": sums({"a": b"1"})})
    registry = registry_of(bucket)
    for _ in range(3):
        assert len(registry.discover()) == 1
    assert sum(what.startswith("open") for what in bucket.asked) == 1


def test_bad_names_hide_no_other(bucket: Bucket) -> None:
    bucket.write({"sdxl/v1/a": b"1", "sdxl/v1/READY": b"", "b d/v1/READY": b"", "sdxl/latest/READY": b""})
    bucket.write({"sdxl/v2/a": b"1", "sdxl/v2/SHA256SUMS": b"nonsense\n", "top": b"", "READY": b"", "a/READY": b""})
    with capture_logs() as logs:
        assert [each.version for each in registry_of(bucket).discover()] == ["v1"]
    assert sorted(entry["version"] for entry in logs) == ["b d/v1", "sdxl/latest", "sdxl@v2"]


def test_a_marker_inside_a_version_makes_no_other_version(bucket: Bucket) -> None:
    bucket.write({"sdxl/v1/a": b"1", "sdxl/v1/sub/READY": b"", "sdxl/v1/READY": b"", "team/sdxl/v1/READY": b""})
    found = {(each.model, each.version) for each in registry_of(bucket).discover()}
    assert found == {("sdxl", "v1"), ("team/sdxl", "v1")}


def test_only_models_that_are_selected_are_there(bucket: Bucket) -> None:
    bucket.write({"sdxl/v1/a": b"1", "sdxl/v1/READY": b"", "other/v1/READY": b""})
    registry = registry_of(bucket, "sd*")
    assert [each.model for each in registry.discover()] == ["sdxl"]
    with pytest.raises(NotFound, match="not among"):
        registry.resolve(ModelName("other"), "v1")


def test_a_prefix_with_too_much_in_it_is_refused(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.registry.bucket_objects.OBJECTS_MAX", 3)
    bucket.write({f"sdxl/v1/{number}": b"" for number in range(4)})
    with pytest.raises(Invalid, match="more than 3 objects"):
        registry_of(bucket).discover()


def test_a_list_that_is_too_large_is_not_read(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.registry.sources.oss_prefix.LIST_BYTES_MAX", 10)
    bucket.write({"sdxl/v1/a": b"1", "sdxl/v1/SHA256SUMS": sums({"a": b"1"})})
    with pytest.raises(Invalid, match="at most 10 are read"):
        registry_of(bucket).resolve(SDXL, "v1")


@pytest.mark.parametrize("key", ["../x", "b/./x", "a//b", "A", "a\\b"])
def test_a_bad_file_name_is_refused_by_name(bucket: Bucket, key: str) -> None:
    bucket.write({"sdxl/v1/a": b"1", f"sdxl/v1/{key}": b"2", "sdxl/v1/READY": b""})
    with pytest.raises(Invalid):
        registry_of(bucket).resolve(SDXL, "v1")


def test_it_has_the_location_of_its_bytes(bucket: Bucket) -> None:
    bucket.write({"sdxl/v1/sub/a#1": b"1", "sdxl/v1/READY": b""})
    registry = registry_of(bucket)
    revision = registry.resolve(SDXL, "v1")
    assert registry.location_of(SDXL, revision, FilePath("sub/a#1")) == Location(
        "cn-hangzhou", "training", "team/sdxl/v1/sub/a#1"
    )
    assert read(registry, SDXL, revision, "sub/a#1") == b"1"
    with pytest.raises(NotFound):
        registry.location_of(SDXL, revision, FilePath("b"))


def test_a_refusal_is_not_an_empty_bucket(bucket: Bucket) -> None:
    bucket.error = Refused("AccessDenied")
    for call in (registry_of(bucket).discover, lambda: registry_of(bucket).resolve(SDXL, "latest")):
        with pytest.raises(Refused):
            call()


@pytest.mark.parametrize(
    ("limit", "said"),
    [("_VERSION_OBJECTS_MAX", "more than 3 objects"), ("_VERSION_KEYS_BYTES_MAX", "have more than 3 bytes")],
)
def test_a_version_with_too_many_or_too_long_keys_is_refused_while_it_is_listed(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, limit: str, said: str
) -> None:
    bucket.write({**{f"sdxl/v1/{number}": b"" for number in range(4)}, "sdxl/v1/READY": b""})
    assert registry_of(bucket).resolve(ModelName("sdxl"), "v1").version == "v1"
    monkeypatch.setattr(f"syncd.registry.bucket_objects.{limit}", 3)
    with pytest.raises(Invalid, match=said):
        registry_of(bucket).resolve(ModelName("sdxl"), "v1")
