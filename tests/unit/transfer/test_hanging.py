"""A call that never comes back is given up, whatever it is: its thread is left behind, and the copy ends.

An Event stands for the kernel: a thread that waits for it cannot be interrupted, as one that a dead NFS server holds.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
from syncd.artifact.manifest import Entry
from syncd.errors import Cancelled, Unavailable
from syncd.retry import CallPolicy, Retry, once
from syncd.secret import Secret
from syncd.store.base import Stat
from syncd.store.memory import MemoryStore
from syncd.store.nas.store import NasSettings, NasStore
from syncd.store.oss.store import Credentials, OssSettings, OssStore
from syncd.targets.versioned_tree import TreeTarget
from syncd.transfer import CopySettings, Destination, LeakedThreads, Progress, abandonable_call, copy
from syncd.values.source import Stream
from tests.support.journals import MemoryJournal
from tests.support.sockets import rude, silent
from tests.support.sources import Files, FilesStream, content, manifest_of
from tests.support.transfers import PART, SETTINGS, Bench, Faulty

WAIT_S = 60
FILES = {"big": content("big", 30 * PART + 7), "small": b"{}", "middle": content("middle", 3 * PART)}


class Kernel:
    """Holds whoever comes with the right verb, for ever or until the mount is mended."""

    def __init__(self, verb: str, *, since: int = 1) -> None:
        self.mended = Event()
        self.verb = verb
        self.since = since
        self.held: set[threading.Thread] = set()

    def __call__(self, verb: str, n: int) -> None:
        if verb == self.verb and n >= self.since and not self.mended.is_set():
            self.held.add(threading.current_thread())
            assert self.mended.wait(WAIT_S)

    def mend(self) -> None:
        self.mended.set()
        for thread in self.held:
            thread.join(WAIT_S)


class Looked(Faulty):
    """Also its looks can hang."""

    def list(self, prefix: str, each: CallPolicy = once) -> Iterator[Stat]:
        self.meet("list")
        return super().list(prefix, each)


@contextlib.contextmanager
def mended(*kernels: Kernel) -> Iterator[None]:
    """No thread outlives the test."""
    try:
        yield
    finally:
        for kernel in kernels:
            kernel.mend()


def quick(**changes: object) -> CopySettings:
    """What is silent for a second is given up."""
    return replace(SETTINGS, stall_s=0.8, grace_s=0.1, leaked_threads=LeakedThreads(), **changes)  # type: ignore[arg-type]  # any of them


@pytest.mark.parametrize(
    ("verb", "what"),
    [
        ("list", "inspecting hung"),
        ("upload", "beginning big at hung"),
        ("send", "part 3 of big at hung"),
        ("put", "finishing small at hung"),
        ("complete", "finishing"),
    ],
)
def test_a_target_that_hangs_drops_out_and_the_others_are_finished(verb: str, what: str) -> None:
    kernel = Kernel(verb, since=3 if verb == "send" else 1)
    files = {"big": FILES["big"], "small": FILES["small"]} if verb in {"upload", "send"} else FILES
    bench = Bench(files, fast=MemoryStore(), hung=Looked(kernel))
    with mended(kernel):
        report = bench.copy(quick(files_in_flight=1, parts_in_flight=1))
        assert set(report.failed) == {"hung"}
        assert isinstance(report.failed["hung"], Unavailable)
        assert "no byte for" in report.failed["hung"].message
        assert what in report.failed["hung"].message
        assert bench.visible("fast") == files
        assert not kernel.mended.is_set()


def test_a_copy_ends_when_its_only_target_hangs_with_every_buffer() -> None:
    kernel = Kernel("send")
    bench = Bench({"big": FILES["big"]}, hung=Faulty(kernel))
    with mended(kernel):
        assert set(bench.copy(quick(parts_in_flight=64, buffer_bytes=4 * PART)).failed) == {"hung"}
        assert len(kernel.held) == 4


def test_a_thread_that_hangs_is_not_joined_by_another_one() -> None:
    kernel = Kernel("send")
    bench = Bench(FILES, fast=MemoryStore(), hung=Faulty(kernel))
    settings = quick()
    with mended(kernel):
        bench.copy(settings)
        held = set(kernel.held)
        error = bench.copy(settings).failed["hung"]
        assert isinstance(error, Unavailable)
        assert "calls hang, the oldest for" in error.message
        assert "part" in error.message
        assert kernel.held == held
    assert bench.copy(settings).failed == {}
    assert bench.visible("hung") == FILES


def test_who_comes_back_after_being_given_up_finishes_nothing() -> None:
    kernel = Kernel("send", since=30)
    store = Faulty(kernel)
    bench = Bench({"big": FILES["big"]}, hung=store)
    with mended(kernel):
        assert set(bench.copy(quick()).failed) == {"hung"}
    assert "complete" not in store.counts
    assert bench.visible("hung") == {}


def test_a_mount_that_comes_back_after_being_given_up_shows_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, fsync = Kernel("fsync"), os.fsync

    def hold(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            kernel("fsync", 1)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", hold)
    files = {"big": FILES["big"]}
    manifest = manifest_of(files)
    to = [Destination(TreeTarget("nas", NasStore(NasSettings(tmp_path))), MemoryJournal())]
    progress = Progress(manifest, ["nas"])
    with mended(kernel):
        report = copy(manifest, Files(files), to, quick(), progress=progress, stop=Event())
        assert "finishing big at nas" in report.failed["nas"].message
    assert not (tmp_path / "models").exists()


class Stuck(FilesStream):
    kernel: Kernel

    def readinto(self, buffer: memoryview) -> int:
        self.kernel("read", 1)
        return super().readinto(buffer)


def stuck(kernel: Kernel, files: Files) -> Callable[[Entry, int], Stream]:
    def source(entry: Entry, offset_bytes: int) -> Stream:
        stream = Stuck(files, entry.path, offset_bytes)
        stream.kernel = kernel
        return stream

    return source


def test_a_source_that_hangs_ends_the_copy_and_is_not_asked_again_while_it_does() -> None:
    kernel = Kernel("read")
    bench = Bench(FILES, one=MemoryStore(), other=MemoryStore())
    settings = quick()
    with mended(kernel):
        with pytest.raises(Unavailable, match=r"no byte for .*: reading (big|middle) from 0 on"):
            bench.copy(settings, stuck(kernel, bench.source))
        with pytest.raises(Unavailable, match=r"the source of .* calls hang"):
            bench.copy(settings)
    assert bench.copy(settings).failed == {}


def test_a_donor_that_hangs_is_the_end_for_the_one_it_feeds_alone() -> None:
    """The one that was let go is fed with what another target has, and reading that back may hang as well."""
    slow, held = Kernel("send", since=3), Kernel("open")

    class Donor(TreeTarget):
        def open(self, *which: object) -> Stream:
            held("open", 1)
            return super().open(*which)  # type: ignore[arg-type]  # as it came

    stores = {"slow": Faulty(slow), "fast": MemoryStore()}
    manifest, source = manifest_of(FILES), Files(FILES)
    done = Event()

    def finished() -> None:
        done.set()
        slow.mended.set()

    to = [
        Destination(TreeTarget("slow", stores["slow"]), MemoryJournal()),
        Destination(Donor("fast", stores["fast"]), MemoryJournal(), finished),
    ]
    settings = quick(patience_s=0.1)
    settings = replace(settings, stall_s=2.0)
    with mended(slow, held):
        progress = Progress(manifest, stores)
        report = copy(manifest, source, to, settings, progress=progress, stop=Event())
        assert done.is_set()
        assert set(report.failed) == {"slow"}
        assert "reading" in report.failed["slow"].message


def test_a_store_that_accepts_connections_and_never_answers_drops_out() -> None:
    with rude(silent) as server:
        store = OssStore(
            OssSettings(
                endpoint=server.endpoint,
                bucket="weights",
                region="cn-hangzhou",
                credentials=lambda: Credentials("id", Secret("secret")),
                read_timeout_s=0.2,
                path_style=True,
            )
        )
        manifest, fast = manifest_of(FILES), MemoryStore()
        to = [Destination(TreeTarget(name, s), MemoryJournal()) for name, s in (("silent", store), ("fast", fast))]
        settings = quick(retry=Retry(2, 60, 0.001, 0.002))
        progress = Progress(manifest, ["silent", "fast"])
        report = copy(manifest, Files(FILES), to, settings, progress=progress, stop=Event())
    assert set(report.failed) == {"silent"}
    assert "no byte for 0.2 s" in report.failed["silent"].message
    assert {key.removeprefix(f"{manifest.directory}/") for key in fast.objects} == set(FILES)


class Socket:
    """A registry's answer: a socket without a timeout of its own."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))

    def readinto(self, buffer: memoryview) -> int:
        return self._socket.recv_into(buffer)

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()


def test_a_registry_that_accepts_connections_and_never_answers_ends_the_copy() -> None:
    bench = Bench(FILES, one=MemoryStore())
    with rude(silent) as server, pytest.raises(Unavailable, match=r"no byte for .*: reading"):
        bench.copy(quick(), lambda entry, offset_bytes: Socket(server.port))


def test_a_single_call_that_hangs_is_left_behind() -> None:
    kernel = Kernel("look")
    settings = quick()
    with mended(kernel):
        with pytest.raises(Unavailable, match=r"no byte for .*: looking at nas"):
            abandonable_call("nas", lambda: kernel("look", 1), settings, Event(), what="looking")
        with pytest.raises(Unavailable, match="nas: 1 calls hang"):
            abandonable_call("nas", lambda: 1, settings, Event(), what="looking")
        assert abandonable_call("other", lambda: 1, settings, Event(), what="looking") == 1
    assert abandonable_call("nas", lambda: 1, settings, Event(), what="looking") == 1


def test_a_single_call_is_left_when_told_to_stop_and_its_own_errors_come_through() -> None:
    kernel, stop = Kernel("look"), Event()
    settings = replace(quick(), stall_s=60.0)
    with mended(kernel), ThreadPoolExecutor(1) as pool:
        call = pool.submit(abandonable_call, "nas", lambda: kernel("look", 1), settings, stop, what="looking")
        stop.set()
        assert isinstance(call.exception(WAIT_S), Cancelled)
    with pytest.raises(ZeroDivisionError):
        abandonable_call("nas", lambda: 1 // 0, settings, Event(), what="dividing")

    def fail() -> None:
        raise Unavailable("not now")

    with pytest.raises(Unavailable, match="not now"):
        abandonable_call("nas", fail, settings, Event(), what="looking")


_PROGRAM = """
from threading import Event
from syncd.errors import Unavailable
from syncd.transfer import CopySettings, abandonable_call
try:
    abandonable_call("nas", Event().wait, CopySettings(stall_s=0.1, grace_s=0.1), Event(), what="looking")
except Unavailable as error:
    print(error.message)
"""


def test_a_process_ends_though_a_thread_of_it_hangs() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=WAIT_S, check=True)
    assert "looking at nas" in done.stdout
    assert done.stderr == ""
