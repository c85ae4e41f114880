"""Told to stop, a copy ends at once, whatever it is in the middle of; what holds it is never let go in these tests."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from threading import Event

import pytest
from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.parts import MIB, Part
from syncd.errors import Cancelled, Unavailable
from syncd.retry import Retry
from syncd.secret import Secret
from syncd.store.base import Buffer
from syncd.store.memory import MemoryStore
from syncd.store.oss.store import Credentials, OssSettings, OssStore
from syncd.store.oss.upload import OssUpload
from syncd.targets.base import Depth, Inspection, Journal, NearbyCopy, Origin, Writer
from syncd.targets.versioned_tree import TreeTarget
from syncd.transfer import Bandwidth, CopyReport, CopySettings, Destination, Progress, Timetable, copy
from syncd.values.source import Stream
from tests.support.journals import MemoryJournal
from tests.support.sockets import gulping, rude
from tests.support.sources import FilesStream, content
from tests.support.transfers import PART, SETTINGS, Bench, Faulty

WAIT_S = 30
PATIENT = replace(SETTINGS, stall_s=3600.0, grace_s=0.2)
FILES = {"big": content("big", 60 * PART)}


@contextlib.contextmanager
def stopping(bench: Bench, run: Callable[[], CopyReport]) -> Iterator[Future[CopyReport]]:
    """Runs a copy, which must be over when the block is left; `held` lets go of what held it."""
    with ThreadPoolExecutor(1) as pool:
        copying = pool.submit(run)
        try:
            yield copying
            bench.stop.set()
            assert isinstance(copying.exception(WAIT_S), Cancelled)
        finally:
            bench.stop.set()


def test_while_a_target_hangs() -> None:
    reached, mended = Event(), Event()

    def hold(verb: str, n: int) -> None:
        if verb == "send" and n == 5:
            reached.set()
            mended.wait(WAIT_S)

    bench = Bench(FILES, hung=Faulty(hold), fast=MemoryStore())
    try:
        with stopping(bench, lambda: bench.copy(PATIENT)):
            assert reached.wait(WAIT_S)
    finally:
        mended.set()


def test_while_a_target_waits_to_be_tried_again() -> None:
    reached = Event()

    def refuse(verb: str, n: int) -> None:
        if verb == "send":
            reached.set()
            raise Unavailable("503", retry_after_s=3600.0)

    bench = Bench(FILES, busy=Faulty(refuse))
    with stopping(bench, lambda: bench.copy(replace(PATIENT, retry=Retry(9, 1e9, 3600, 3600)))):
        assert reached.wait(WAIT_S)


def test_while_it_waits_for_bandwidth() -> None:
    reached = Event()
    bandwidth = Bandwidth(Timetable(1))
    bench = Bench(FILES, one=Faulty(lambda verb, n: reached.set() if verb == "send" else None))
    with stopping(bench, lambda: bench.copy(replace(PATIENT, bandwidth=bandwidth))):
        assert reached.wait(WAIT_S)


def test_while_it_waits_for_a_buffer() -> None:
    full, mended = Event(), Event()
    buffers = PATIENT.buffer_bytes // PART

    def hold(verb: str, n: int) -> None:
        if verb == "send":
            mended.wait(WAIT_S)

    class Watched(FilesStream):
        def readinto(self, buffer: memoryview) -> int:
            count = super().readinto(buffer)
            if bench.source.read_bytes["big"] == buffers * PART:
                full.set()
            return count

    bench = Bench(FILES, hung=Faulty(hold))
    try:
        with stopping(bench, lambda: bench.copy(PATIENT, lambda e, n: Watched(bench.source, e.path, n))):
            assert full.wait(WAIT_S)
    finally:
        mended.set()


@pytest.mark.parametrize("at", ["open", "read"])
def test_while_a_source_hangs(at: str) -> None:
    reached, mended = Event(), Event()

    class Slow(FilesStream):
        def readinto(self, buffer: memoryview) -> int:
            if at == "read" and bench.source.read_bytes.get("big", 0) >= 4 * PART:
                reached.set()
                mended.wait(WAIT_S)
            return super().readinto(buffer)

    def source(entry: Entry, offset_bytes: int) -> Stream:
        if at == "open":
            reached.set()
            mended.wait(WAIT_S)
        return Slow(bench.source, entry.path, offset_bytes)

    bench = Bench(FILES, one=MemoryStore())
    try:
        with stopping(bench, lambda: bench.copy(PATIENT, source)):
            assert reached.wait(WAIT_S)
    finally:
        mended.set()


def test_a_source_that_trickles_is_left_within_a_piece_of_a_part() -> None:
    """8 MiB at a time is what is wanted of it; it is asked for less, and left in between."""
    reached = Event()

    class Trickle(FilesStream):
        def readinto(self, buffer: memoryview) -> int:
            if bench.source.read_bytes.get("big", 0) >= MIB:
                reached.set()
                bench.stop.wait(WAIT_S)
            return super().readinto(buffer[: MIB // 2])

    bench = Bench({"big": content("big", 16 * MIB)}, one=MemoryStore())
    large = CopySettings(grace_s=WAIT_S, stall_s=3600)
    with stopping(bench, lambda: bench.copy(large, lambda e, n: Trickle(bench.source, e.path, n))):
        assert reached.wait(WAIT_S)
    assert bench.source.read_bytes["big"] <= 4 * MIB


class Sending:
    """A writer that is in the middle of its parts, and nothing else."""

    resumes = False

    def __init__(self, upload: OssUpload) -> None:
        self._upload = upload

    def has(self, part: Part, crc64: int) -> bool:
        return False

    def send(self, part: Part, data: Buffer, crc64: int) -> None:
        self._upload.send(part, data, crc64)

    def copy(self, part: Part, origin: Origin | NearbyCopy, crc64: int) -> None:
        raise AssertionError("nothing is there to be copied")

    def finish(self, sha256: Digest, crc64: int) -> None:
        raise AssertionError("it cannot have been sent")

    def abandon(self) -> None:
        pass


class Begun(TreeTarget):
    """A target where everything is still to be sent."""

    def __init__(self, store: OssStore) -> None:
        super().__init__("slow", store)
        self.store = store

    def inspect(self, manifest: Manifest, depth: Depth, journal: Journal) -> Inspection:
        return Inspection(sealed=False, present=frozenset(), missing=frozenset(e.path for e in manifest.entries))

    def writer(self, manifest: Manifest, entry: Entry, parts: tuple[Part, ...], journal: Journal) -> Writer:
        return Sending(OssUpload(self.store.bucket, "key", parts, "upload-id"))


@pytest.mark.parametrize("goes_on", [True, False])
def test_in_the_middle_of_a_part_to_a_store_that_is_slow(goes_on: bool) -> None:  # noqa: FBT001 - a parameter
    reached, mended = Event(), Event()
    bench = Bench({"big": content("big", 16 * MIB)}, unused=MemoryStore())

    def gulp(got_bytes: int) -> None:
        if got_bytes >= MIB:
            reached.set()
            if not goes_on:
                mended.wait(WAIT_S)
            bench.stop.wait(WAIT_S)

    with rude(gulping(gulp)) as server:
        credentials = Credentials("id", Secret("secret"))
        bucket = OssSettings(server.endpoint, "weights", "cn-hangzhou", lambda: credentials, path_style=True)
        to = [Destination(Begun(OssStore(bucket)), MemoryJournal())]
        settings = CopySettings(stall_s=3600, grace_s=WAIT_S if goes_on else 0.2)  # left only where it is stuck

        def run() -> CopyReport:
            progress = Progress(bench.manifest, ["slow"])
            return copy(bench.manifest, bench.source, to, settings, progress=progress, stop=bench.stop)

        try:
            with stopping(bench, run):
                assert reached.wait(WAIT_S)
        finally:
            mended.set()
