"""Conformance of every registry over HTTP against a hostile server: names, sizes, answers and redirects."""

from __future__ import annotations

import gzip
import itertools
import unicodedata
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cache

import pytest
from syncd.artifact.names import FilePath, ModelName
from syncd.errors import Conflict, Corrupt, Invalid, NotFound, Refused, Unavailable
from syncd.registry.base import Registry
from syncd.registry.rules.file_filters import FileFilter, without_filter_mark
from syncd.registry.rules.filtered import FilteredRegistry, Source
from syncd.values.source import Revision

from tests.conformance.registry import read
from tests.emulators.web import Reply, Request, Web

SDXL = ModelName("sdxl")
DATA = bytes(range(256)) * 400
BYTES_MAX = 1 << 20
"""The maximum of a response that the binding's client reads."""

BAD_NAMES: Mapping[str, tuple[str, ...]] = {
    "leaves its directory": ("../evil",),
    "leaves it further in": ("a/../../evil",),
    "absolute": ("/etc/evil",),
    "NUL": ("a\x00evil",),
    "newline": ("a\nevil",),
    "backslash": ("..\\evil",),
    "drive": ("C:evil",),
    "empty part": ("a//evil",),
    "deep": ("evil/" * 10_000 + "x",),
    "long": ("evil" * 500,),
    "ours": (".syncd/evil",),
    "decomposed": (unicodedata.normalize("NFD", "évil"),),
    "case": ("Evil", "evil"),
    "file and directory": ("evil", "evil/x"),
}


class HostileConformance(ABC):
    """`web` receives every request; its faults are the misbehaviour."""

    web: Web
    nothing_is: tuple[type[Exception], ...] = ()
    """The result of an empty object in place of a listing, where that is a valid empty listing."""

    @pytest.fixture
    @abstractmethod
    def registry(self) -> Source:
        """A registry of `web` that selects `sdxl`, reads `BYTES_MAX` of a response, and does not retry."""

    @abstractmethod
    def offer(self, files: Sequence[tuple[str, bytes]]) -> None:
        """Add `sdxl@v1`, with any names."""

    @abstractmethod
    def is_listing(self, request: Request) -> bool:
        """Whether the response to this request lists the files."""

    @abstractmethod
    def is_file(self, request: Request) -> bool:
        """Whether the response to this request is a file, or leads to it."""

    def resolve(self, registry: Registry) -> Revision:
        """Every request before the first byte of a file."""
        revision = registry.resolve(SDXL, "v1")
        registry.listing(SDXL, revision)
        return revision

    def ready(self, registry: Registry) -> Revision:
        self.offer([("w", DATA)])
        return self.resolve(registry)

    def answer_listing(self, reply: Reply) -> None:
        self.web.faults.append(lambda request: reply if self.is_listing(request) else None)

    def answer_file(self, reply: Reply) -> None:
        self.web.faults.append(lambda request: reply if self.is_file(request) else None)

    @pytest.mark.parametrize("names", BAD_NAMES.values(), ids=BAD_NAMES)
    def test_a_bad_name_is_refused_by_name(self, registry: Registry, names: Sequence[str]) -> None:
        self.offer([("good", b"0"), *((name, b"1") for name in names)])
        with pytest.raises(Invalid) as caught:
            self.resolve(registry)
        assert "vil" in caught.value.message
        assert len(caught.value.message) < 1000
        assert all(character.isprintable() for character in caught.value.message)
        registry.discover()

    @pytest.mark.parametrize("names", BAD_NAMES.values(), ids=BAD_NAMES)
    def test_a_bad_name_that_is_not_taken_hinders_nothing_and_is_never_read(
        self, registry: Source, names: Sequence[str]
    ) -> None:
        self.offer([("good", b"0"), *((name, b"1") for name in names)])
        filtered = FilteredRegistry(registry, files=FileFilter(take=("good",)))
        revision = filtered.resolve(SDXL, "v1")
        assert [file.path for file in filtered.listing(SDXL, revision)] == ["good"]
        assert read(filtered, SDXL, revision, "good") == b"0"
        own = without_filter_mark(revision)[0]
        for name in names:
            with pytest.raises(NotFound):
                filtered.open(SDXL, revision, FilePath(name))
            if names not in {("Evil", "evil"), ("evil", "evil/x")}:
                with pytest.raises((Invalid, NotFound)):
                    registry.open(SDXL, own, FilePath(name))

    def test_a_listing_that_never_ends_is_refused(self, registry: Registry) -> None:
        self.offer([("w", DATA)])
        self.answer_listing(Reply(200, {}, itertools.repeat(b"[" + b" " * 10_000)))
        with pytest.raises(Invalid, match="more than"):
            self.resolve(registry)

    def test_a_listing_that_unpacks_to_a_thousand_times_its_size_is_refused(self, registry: Registry) -> None:
        self.offer([("w", DATA)])
        self.answer_listing(Reply(200, {"Content-Encoding": "gzip"}, bomb(64 << 20)))
        with pytest.raises(Invalid, match="more than"):
            self.resolve(registry)

    def test_a_listing_that_is_nested_without_end_is_refused(self, registry: Registry) -> None:
        self.offer([("w", DATA)])
        self.answer_listing(Reply(200, {"Docker-Content-Digest": ""}, b"[" * 500_000))
        with pytest.raises((Invalid, Corrupt, Unavailable)):
            self.resolve(registry)

    def test_a_page_that_is_not_a_listing_is_unavailable(self, registry: Registry) -> None:
        self.offer([("w", DATA)])
        self.answer_listing(Reply(200, {"Content-Type": "text/html"}, b"<html>Please log in"))
        with pytest.raises((Unavailable, Corrupt)):
            self.resolve(registry)

    @pytest.mark.parametrize("body", [b"null", b"[]", b"{}", b'{"models": 5}', b"[5]", b'"x"', b"1e999", b"[[]]"])
    def test_a_listing_of_another_shape_is_refused(self, registry: Registry, body: bytes) -> None:
        self.offer([("w", DATA)])
        self.answer_listing(Reply(200, {}, body))
        with pytest.raises((Invalid, Corrupt, *self.nothing_is)):
            self.resolve(registry)

    @pytest.mark.parametrize("host", ["169.254.169.254", "100.100.100.200", "[fd00:ec2::254]", "[::ffff:169.254.0.1]"])
    def test_a_file_that_leads_to_a_machines_metadata_is_refused(self, registry: Registry, host: str) -> None:
        revision = self.ready(registry)
        self.answer_file(Reply(302, {"Location": f"http://{host}/latest/meta-data?token=hunter2"}))
        with pytest.raises(Invalid, match="metadata") as caught:
            registry.open(SDXL, revision, FilePath("w"))
        assert host.strip("[]") in caught.value.message
        assert "hunter2" not in caught.value.message

    def test_a_listing_that_leads_to_a_machines_metadata_is_refused(self, registry: Registry) -> None:
        self.offer([("w", DATA)])
        self.answer_listing(Reply(307, {"Location": "http://169.254.169.254/latest/meta-data"}))
        with pytest.raises(Invalid, match="metadata"):
            self.resolve(registry)

    @pytest.mark.parametrize("target", ["file:///etc/passwd", "gopher://x/", "http://", "http://u:p@x/", "http://[x"])
    def test_a_file_that_leads_to_no_address_of_the_web_is_refused(self, registry: Registry, target: str) -> None:
        revision = self.ready(registry)
        self.answer_file(Reply(302, {"Location": target}))
        with pytest.raises(Invalid):
            registry.open(SDXL, revision, FilePath("w"))

    def test_a_redirect_in_a_circle_is_refused(self, registry: Registry) -> None:
        revision = self.ready(registry)
        self.web.faults.append(lambda request: Reply(302, {"Location": "/round"}) if _is_round(self, request) else None)
        with pytest.raises(Invalid, match="redirects more than"):
            registry.open(SDXL, revision, FilePath("w"))

    def test_no_credentials_follow_to_another_host(self, registry: Registry) -> None:
        revision = self.ready(registry)
        with Web(lambda _: Reply(200, {"Set-Cookie": "a=b"}, DATA)) as other:
            self.answer_file(Reply(302, {"Location": f"http://localhost:{other.port}/w?sig=1", "Set-Cookie": "c=d"}))
            assert read(registry, SDXL, revision, "w") == DATA
            assert read(registry, SDXL, revision, "w") == DATA
        for request in other.seen:
            assert not {"authorization", "cookie", "proxy-authorization"} & request.headers.keys()

    def test_a_request_that_left_the_host_returns_without_credentials(self, registry: Registry) -> None:
        revision = self.ready(registry)
        back = f"{self.web.origin}/stolen"
        with Web(lambda _: Reply(302, {"Location": back})) as other:
            self.answer_file(Reply(302, {"Location": f"http://localhost:{other.port}/"}))
            self.web.faults.append(lambda request: Reply(200, {}, DATA) if request.path == "/stolen" else None)
            assert read(registry, SDXL, revision, "w") == DATA
        (stolen,) = [request for request in self.web.seen if request.path == "/stolen"]
        assert "authorization" not in stolen.headers

    @pytest.mark.parametrize("listed", [len(DATA) - 1, len(DATA) + 1])
    def test_a_file_of_another_size_than_listed_is_a_conflict(self, registry: Registry, listed: int) -> None:
        revision = self.ready(registry)
        self.answer_file(Reply(200, {}, b"x" * listed))
        with pytest.raises(Conflict, match=str(len(DATA))):
            registry.open(SDXL, revision, FilePath("w"))

    def test_a_file_longer_than_listed_is_corrupt(self, registry: Registry) -> None:
        revision = self.ready(registry)
        self.answer_file(Reply(200, {}, itertools.repeat(b"x" * 10_000)))
        with pytest.raises(Corrupt, match="more than"):
            read(registry, SDXL, revision, "w")

    def test_a_file_that_ends_early_is_opened_again_where_it_broke_off(self, registry: Registry) -> None:
        revision = self.ready(registry)
        self.answer_file(Reply(200, {}, [DATA[:1000]]))
        with pytest.raises(Unavailable, match="ended after 1000 bytes"):
            read(registry, SDXL, revision, "w")
        self.answer_file(Reply(200, {}, DATA, cut_after=3000))
        with pytest.raises(Unavailable):
            read(registry, SDXL, revision, "w")
        self.web.faults.clear()
        assert read(registry, SDXL, revision, "w", 3000) == DATA[3000:]

    @pytest.mark.parametrize("span", ["bytes 0-9/102400", "bytes 100-102398/102400", "junk", "bytes 101-102399/*"])
    def test_another_range_than_requested_is_corrupt(self, registry: Registry, span: str) -> None:
        revision = self.ready(registry)
        self.answer_file(Reply(206, {"Content-Range": span}, DATA[100:]))
        with pytest.raises(Corrupt, match="expected the range"):
            registry.open(SDXL, revision, FilePath("w"), 100)

    def test_a_whole_file_in_answer_to_a_range_is_skipped_to_the_offset(self, registry: Registry) -> None:
        revision = self.ready(registry)
        self.answer_file(Reply(200, {}, DATA))
        assert read(registry, SDXL, revision, "w", 70_001) == DATA[70_001:]

    def test_a_range_that_is_answered_with_200_and_its_place_is_that_range(self, registry: Registry) -> None:
        revision = self.ready(registry)
        self.answer_file(Reply(200, {"Content-Range": f"bytes 70001-{len(DATA) - 1}/{len(DATA)}"}, DATA[70_001:]))
        assert read(registry, SDXL, revision, "w", 70_001) == DATA[70_001:]

    def test_a_file_that_comes_packed_is_refused(self, registry: Registry) -> None:
        revision = self.ready(registry)
        self.answer_file(Reply(200, {"Content-Encoding": "gzip"}, gzip.compress(DATA)))
        with pytest.raises(Invalid, match="expected plain bytes"):
            registry.open(SDXL, revision, FilePath("w"))
        asked = [request for request in self.web.seen if self.is_file(request)]
        assert {request.headers["accept-encoding"] for request in asked} == {"identity"}

    @pytest.mark.parametrize(
        ("status", "headers", "error"),
        [
            (404, {}, NotFound),
            (410, {}, NotFound),
            (403, {}, Refused),
            (401, {}, Refused),
            (429, {"Retry-After": "7"}, Unavailable),
            (500, {}, Unavailable),
            (502, {}, Unavailable),
            (503, {"Retry-After": "7"}, Unavailable),
        ],
    )
    def test_a_status_is_its_remedy(
        self, registry: Registry, status: int, headers: Mapping[str, str], error: type[Exception]
    ) -> None:
        revision = self.ready(registry)
        self.answer_file(Reply(status, headers, b"no"))
        with pytest.raises(error) as caught:
            registry.open(SDXL, revision, FilePath("w"))
        self.answer_listing(Reply(status, headers, b"no"))
        with pytest.raises(error):
            self.resolve(registry)
        if isinstance(caught.value, Unavailable):
            assert caught.value.retry_after_s == (7 if headers else None)


@cache
def bomb(size_bytes: int) -> bytes:
    """A gzip file of a thousandth of its content."""
    pack = zlib.compressobj(9, wbits=31)
    piece = bytes(1 << 20)
    return b"".join(pack.compress(piece) for _ in range(size_bytes >> 20)) + pack.flush()


def _is_round(suite: HostileConformance, request: Request) -> bool:
    return request.path == "/round" or suite.is_file(request)
