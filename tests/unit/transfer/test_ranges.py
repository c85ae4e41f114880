"""Parts of one file by several requests at once: in order, once each, in bounded memory, and right whatever happens."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from threading import Event

import pytest
from syncd.artifact.names import VersionName, parse_model
from syncd.errors import Conflict, Corrupt, Unavailable
from syncd.http.client import HttpClient, HttpRequest, HttpSettings
from syncd.http.download import ExpectedFile
from syncd.registry.base import RevisionSource
from syncd.registry.settings import IndexSettings
from syncd.registry.sources.index import IndexRegistry
from syncd.retry import Retry
from syncd.store.memory import MemoryStore
from syncd.targets.versioned_tree import TreeTarget
from syncd.transfer import CopyReport, CopySettings, Destination, Progress, StreamLimit, copy
from syncd.transfer.flow import buffers
from tests.emulators.web import Reply, Request, ranged
from tests.support.journals import MemoryJournal
from tests.support.sources import content, manifest_of
from tests.unit.registry.webs import IndexWeb, http_to

KIB = 1 << 10
SPAN, PART = 64 * KIB, 256 * KIB
DATA = content("model", 2 * (1 << 20) + 12_345)
MODEL = "team/sdxl"
LIMIT_S = 30.0
SETTINGS = CopySettings(
    buffer_bytes=5 * PART, part_bytes=PART, span_bytes=SPAN, files_in_flight=2, retry=Retry(4, 60, 0.001, 0.002)
)
Answer = Callable[[Request, str], Reply | None]
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class Ranges:
    """A registry over HTTP, a little slow, which counts what is asked of it and how much of that at once."""

    def __init__(self, **files: bytes) -> None:
        self.index = IndexWeb()
        self.index.add(MODEL, "v1", files)
        self.files = files
        self.asked: list[tuple[str, int, int | None]] = []
        self.most_at_once = 0
        self.met_at = 1  # requests of parts wait for one another until so many are there at once
        self._at_once = 0
        self._changed = threading.Condition()
        self.index.web.faults.append(self._slow)
        self.stores: dict[str, MemoryStore] = {"t": MemoryStore()}

    def copy(self, settings: CopySettings = SETTINGS) -> CopyReport:
        registry = IndexRegistry(IndexSettings(self.index.url, ("*", "*/*")), http_to(self.index.web))
        return self.copy_from(registry, settings)

    def copy_from(self, registry: IndexRegistry, settings: CopySettings = SETTINGS) -> CopyReport:
        self.manifest = manifest_of(self.files)
        model = parse_model(MODEL)
        source = RevisionSource(registry, model, registry.resolve(model, VersionName("v1")))
        destinations = [Destination(TreeTarget(name, store), MemoryJournal()) for name, store in self.stores.items()]
        progress = Progress(self.manifest, self.stores)
        return copy(self.manifest, source, destinations, settings, progress=progress, stop=Event())

    @property
    def got(self) -> dict[str, bytes]:
        prefix = self.manifest.directory + "/"
        return {key.removeprefix(prefix): held.data for key, held in self.stores["t"].objects.items()}

    def _slow(self, request: Request) -> Reply | None:
        if request.path == "/index.json":
            return None
        found = _RANGE.fullmatch(request.headers.get("range", ""))
        span = (int(found[1]), int(found[2]) + 1 if found[2] else None) if found else (0, None)
        with self._changed:
            self.asked.append((request.path.rpartition("/")[2], *span))
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            self._changed.notify_all()
            if span[0]:
                self._changed.wait_for(lambda: self.most_at_once >= self.met_at, LIMIT_S)
        time.sleep(0.003)
        with self._changed:
            self._at_once -= 1
        return None


@contextmanager
def served(**files: bytes) -> Iterator[Ranges]:
    ranges = Ranges(**files)
    with ranges.index.web:
        yield ranges


def once(where: Callable[[Request], bool], answer: Callable[[Request], Reply]) -> Callable[[Request], Reply | None]:
    done = threading.Event()

    def fault(request: Request) -> Reply | None:
        if not where(request) or done.is_set():
            return None
        done.set()
        return answer(request)

    return fault


def begins_at(offset_bytes: int) -> Callable[[Request], bool]:
    return lambda request: request.headers.get("range", "").startswith(f"bytes={offset_bytes}-")


def test_each_byte_is_requested_once_and_several_requests_are_made_at_once() -> None:
    with served(model=DATA) as ranges:
        ranges.met_at = 4
        report = ranges.copy()
    assert report.failed == {}
    assert ranges.got == {"model": DATA}
    spans = sorted((start, until) for _, start, until in ranges.asked)
    assert spans[0][0] == 0
    assert all(until is not None for _, until in spans)
    assert [until for _, until in spans[:-1]] == [start for start, _ in spans[1:]]
    assert spans[-1][1] == len(DATA)
    assert all(until - start <= SPAN for start, until in spans if until is not None)
    assert 4 <= ranges.most_at_once <= 16
    assert report.bytes_read == len(DATA)


def test_reading_ahead_takes_no_more_memory_than_the_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    pools: list[buffers.BufferPool] = []
    made = buffers.BufferPool.__init__
    peaks = [0]

    def begin(pool: buffers.BufferPool, limit_bytes: int, common_bytes: int | None = None) -> None:
        made(pool, limit_bytes, common_bytes)
        pools.append(pool)

    with served(model=DATA, other=content("other", 1 << 20)) as ranges:
        ranges.index.web.faults.append(lambda _: peaks.append(sum(pool.allocated_bytes for pool in pools)))
        monkeypatch.setattr(buffers.BufferPool, "__init__", begin)
        ranges.copy()
    assert ranges.got == ranges.files
    assert 2 * PART <= max(peaks) <= SETTINGS.buffer_bytes


def test_files_share_the_limit_of_a_host() -> None:
    files = {name: content(name, 1 << 20) for name in ("a", "b", "c")}
    with served(**files) as ranges:
        ranges.copy(replace(SETTINGS, streams=StreamLimit(3)))
    assert ranges.got == files
    assert ranges.most_at_once <= 3 + 1  # the first request of the other file


def test_one_stream_a_host_reads_in_order() -> None:
    with served(model=DATA) as ranges:
        ranges.copy(replace(SETTINGS, streams=StreamLimit(1)))
    assert ranges.got == {"model": DATA}
    assert ranges.most_at_once == 1
    assert [start for _, start, _ in ranges.asked] == sorted(start for _, start, _ in ranges.asked)


def test_a_small_file_is_one_request_without_a_range() -> None:
    small = content("small", 4 * SPAN - 1)
    with served(small=small) as ranges:
        ranges.copy()
    assert ranges.asked == [("small", 0, None)]
    assert ranges.got == {"small": small}


def test_a_server_without_ranges_is_read_by_one_request() -> None:
    with served(model=DATA) as ranges:
        ranges.index.web.faults.insert(0, lambda r: Reply(200, {}, DATA) if r.path.endswith("/model") else None)
        ranges.copy()
    assert ranges.got == {"model": DATA}
    assert len(ranges.asked) == 1


def test_a_server_that_stops_sending_parts_is_read_in_order_from_there() -> None:
    def whole(request: Request) -> Reply | None:
        starts = _RANGE.fullmatch(request.headers.get("range", ""))
        return Reply(200, {}, DATA) if starts and int(starts[1]) >= 20 * SPAN else None

    with served(model=DATA) as ranges:
        ranges.index.web.faults.insert(0, whole)
        ranges.copy()
    assert ranges.got == {"model": DATA}
    assert sum(until is None for _, _, until in ranges.asked) == 1


def test_a_wrong_content_range_is_corrupt() -> None:
    def shifted(request: Request) -> Reply:
        reply = ranged(request, DATA)
        return replace(reply, headers={"Content-Range": f"bytes 1-{SPAN}/{len(DATA)}"})

    with served(model=DATA) as ranges, pytest.raises(Corrupt, match=f"expected the range {9 * SPAN}-{10 * SPAN - 1}"):
        ranges.index.web.faults.insert(0, once(begins_at(9 * SPAN), shifted))
        ranges.copy()
    assert ranges.got == {}


def test_a_part_that_is_cut_off_goes_on_where_it_was() -> None:
    with served(model=DATA) as ranges:
        cut = once(begins_at(9 * SPAN), lambda request: replace(ranged(request, DATA), cut_after=10_000))
        ranges.index.web.faults.insert(0, cut)
        ranges.copy()
    assert ranges.got == {"model": DATA}
    assert ("model", 9 * SPAN + 10_000, 10 * SPAN) in ranges.asked
    assert len(ranges.asked) == -(-len(DATA) // SPAN) + 1


def test_a_server_that_throttles_is_asked_less_and_again() -> None:
    with served(model=DATA) as ranges:
        for at in (6, 7, 30):
            ranges.index.web.faults.insert(0, once(begins_at(at * SPAN), lambda _: Reply(429, {"Retry-After": "0"})))
        ranges.copy()
    assert ranges.got == {"model": DATA}
    assert len(ranges.asked) == -(-len(DATA) // SPAN) + 3


def test_a_part_that_never_comes_fails_the_copy_with_its_reason() -> None:
    with served(model=DATA) as ranges, pytest.raises(Unavailable, match="status 503"):
        ranges.index.web.faults.insert(0, lambda r: Reply(503) if begins_at(9 * SPAN)(r) else None)
        ranges.copy()
    assert ranges.got == {}


def test_bytes_that_change_in_the_middle_never_become_visible() -> None:
    other = DATA[: 20 * SPAN] + content("other", len(DATA) - 20 * SPAN)

    def changed(request: Request) -> Reply | None:
        starts = _RANGE.fullmatch(request.headers.get("range", ""))
        return ranged(request, other, '"new"') if starts and int(starts[1]) >= 20 * SPAN else None

    with served(model=DATA) as ranges, pytest.raises(Corrupt, match="model: sha256 of the source is"):
        ranges.index.web.faults.insert(0, changed)
        ranges.copy()
    assert ranges.got == {}


def test_a_size_that_changes_in_the_middle_is_a_conflict() -> None:
    with served(model=DATA) as ranges, pytest.raises(Conflict, match=f"expected {len(DATA)} bytes as listed, got"):
        ranges.index.web.faults.insert(0, once(begins_at(9 * SPAN), lambda r: ranged(r, DATA + b"more")))
        ranges.copy()
    assert ranges.got == {}


@contextmanager
def redirected(
    answer: Callable[[Request, str], Reply | None],
) -> Iterator[tuple[Ranges, Ranges, HttpClient, list[str]]]:
    """A hub, the store that it redirects to, a client of the hub, and the signatures that the hub has given.

    `answer` is what the store says to a request under a signature; None: the bytes.
    """
    with served(model=DATA) as store, served(model=DATA) as hub:
        path, given = f"/{MODEL}/v1/model", list[str]()

        def sign(request: Request) -> Reply | None:
            if request.path != path:
                return None
            given.append(str(len(given)))
            return Reply(302, {"Location": f"{store.index.web.origin}{path}?sig={given[-1]}"})

        hub.index.web.faults.insert(0, sign)
        store.index.web.faults.insert(0, lambda request: answer(request, request.query.get("sig", "")))
        yield (
            hub,
            store,
            HttpClient(HttpSettings(hub.index.web.origin, timeout_s=5, policy=Retry(attempts_max=1))),
            given,
        )


def part(hub: Ranges, client: HttpClient, number: int) -> bytes:
    """One part of the model, through the hub."""
    url, until = f"{hub.index.web.origin}/{MODEL}/v1/model", min((number + 1) * SPAN, len(DATA))
    buffer = memoryview(bytearray(SPAN))
    with client.open(HttpRequest(url), ExpectedFile("model", len(DATA)), number * SPAN, until) as stream:
        return b"".join(bytes(buffer[:count]) for count in iter(lambda: stream.readinto(buffer), 0))


PARTS = -(-len(DATA) // SPAN)


def test_a_signed_address_is_used_until_it_is_refused() -> None:
    """The hub is asked once for each address, not once for each part."""
    used = Counter[str]()

    def expires(_: Request, signature: str) -> Reply | None:
        used[signature] += 1
        return Reply(403) if used[signature] > 10 else None

    with redirected(expires) as (hub, _, client, given):
        assert b"".join(part(hub, client, number) for number in range(PARTS)) == DATA
    assert len(given) == -(-PARTS // 10)


def test_a_signed_address_serves_several_parts_at_once() -> None:
    """Two wait in the store for each other: neither has taken the address from the other."""
    both, first = threading.Barrier(2, timeout=10), Event()

    def waits(_: Request, __: str) -> Reply | None:
        if first.is_set():
            both.wait()
        return None

    with redirected(waits) as (hub, _, client, given), ThreadPoolExecutor(2) as pool:
        part(hub, client, 0)
        first.set()
        assert b"".join(pool.map(lambda number: part(hub, client, number), (0, 1))) == DATA[: 2 * SPAN]
    assert given == ["0"]


def test_an_address_that_is_refused_late_does_not_take_a_newer_one_away() -> None:
    """The slow part meets the old address's end after the quick one has got a new address from the hub."""
    slow_is_there, renewed, ended = Event(), Event(), Event()

    def late(request: Request, signature: str) -> Reply | None:
        if signature != "0" or not ended.is_set():
            return None
        if begins_at(0)(request):
            slow_is_there.set()
            renewed.wait(10)
        return Reply(403)

    with redirected(late) as (hub, _, client, given), ThreadPoolExecutor(1) as pool:
        part(hub, client, 2)
        ended.set()
        slow = pool.submit(part, hub, client, 0)
        assert slow_is_there.wait(10)
        quick = part(hub, client, 1)
        renewed.set()
        assert slow.result(10) + quick == DATA[: 2 * SPAN]
    assert given == ["0", "1"]


def test_what_redirects_to_signed_addresses_that_expire_is_copied_whole() -> None:
    used = Counter[str]()

    def expires(_: Request, signature: str) -> Reply | None:
        used[signature] += 1
        return Reply(403) if used[signature] > 10 else None

    with redirected(expires) as (hub, store, client, given):
        hub.copy_from(IndexRegistry(IndexSettings(hub.index.url, ("*", "*/*")), client))
    assert hub.got == {"model": DATA}
    assert len(set(store.asked)) == PARTS
    assert len(given) >= -(-PARTS // 10)
