"""Two back ends of one registry give the same bytes different ETags: where a digest is known, only that decides."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator

import pytest
from syncd.artifact.digest import Digest
from syncd.artifact.names import parse_model, parse_path
from syncd.errors import Conflict
from syncd.registry.base import Registry
from syncd.registry.settings import IndexSettings
from syncd.registry.sources.index import IndexRegistry

from tests.emulators.web import Reply, Request, ranged
from tests.unit.registry.webs import IndexWeb, http_to

DATA = bytes(range(256)) * 40
MODEL, PATH = parse_model("m"), parse_path("w.bin")
SHA256 = Digest(hashlib.sha256(DATA).hexdigest())


class Alternating(IndexWeb):
    """Answers each request for a file with another ETag."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count()

    def answer(self, request: Request) -> Reply:
        data = self.files.get(request.path)
        return super().answer(request) if data is None else ranged(request, data, f'"back-end-{next(self.numbers)}"')


@pytest.fixture
def index() -> Iterator[Alternating]:
    web = Alternating()
    with web.web:
        yield web


def registry_at(index: Alternating) -> Registry:
    return IndexRegistry(IndexSettings(index.url, ("m",)), http_to(index.web))


def read(registry: Registry, offset_bytes: int, sha256: Digest | None = None) -> bytes:
    revision = registry.resolve(MODEL, "v1")
    buffer, found = memoryview(bytearray(1000)), bytearray()
    with registry.open(MODEL, revision, PATH, offset_bytes, sha256=sha256) as stream:
        while count := stream.readinto(buffer):
            found += buffer[:count]
    return bytes(found)


def test_where_the_index_has_the_digest_no_etag_decides(index: Alternating) -> None:
    index.add("m", "v1", {PATH: DATA})
    registry = registry_at(index)
    assert [read(registry, offset) for offset in (0, 5000, 0)] == [DATA, DATA[5000:], DATA]


def test_where_the_reader_has_the_digest_no_etag_decides(index: Alternating) -> None:
    index.digests = False
    index.add("m", "v1", {PATH: DATA})
    registry = registry_at(index)
    assert read(registry, 0) == DATA
    assert read(registry, 0, SHA256) == DATA
    assert read(registry, 5000, SHA256) == DATA[5000:]


def test_where_nobody_has_a_digest_another_etag_is_another_file(index: Alternating) -> None:
    index.digests = False
    index.add("m", "v1", {PATH: DATA})
    registry = registry_at(index)
    assert read(registry, 0) == DATA
    with pytest.raises(Conflict, match="ETag"):
        read(registry, 5000)
