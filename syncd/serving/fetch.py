"""Fetch: reads files into memory once, measures the mount on the first 64 MiB, and chooses how many readers to use.

What is fast differs by mount: a mount with a long way to its store wants many requests at once, a mount that streams a
file wants one reader, and a mount that splits large reads itself needs no more than one. So readers are added as long
as each addition pays.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event, Thread

from .descriptor import Descriptor
from .errors import ServingError
from .work import LoadingFile, Piece, Work

READERS = (1, 4, 16, 64, 128)  # tried in this order, where one reader is slow
READERS_OF_STREAM = (
    1,
    2,
    4,
    8,
)  # where it is fast: a mount may prefetch for each, and throw away what it does not read
FAST_BYTES_S = 100e6  # of one reader with small reads: it waits for no distant store, or somebody reads ahead for it
MEASURED_BYTES = 64 << 20
_TRIAL_READ_BYTES = 256 << 10  # while it is measured: an answer comes soon, whatever the mount is
_GAIN = 1.15  # that further readers must bring
_TRIAL_S = 0.03
_REMEMBERED_S = 600.0
_chosen: dict[int, tuple[int, float]] = {}  # by device: how many readers were best, and when that was measured
_HASHERS = min(2, os.cpu_count() or 1)


@dataclass(frozen=True)
class FetchReport:
    """How the files were read. `mode` is `stream`, `stripes` or `ordered`; `direct` says that O_DIRECT was used."""

    mode: str
    readers: int
    direct: bool
    bytes_read: int
    seconds: float
    hash_seconds: float  # after the last byte was read


def forget_mounts() -> None:
    """Measure every mount anew: for a process whose mounts change."""
    _chosen.clear()


def _device(files: Sequence[LoadingFile]) -> int:
    """The device of the files, 0 if there are none; whatever is wrong with them is told when they are opened."""
    try:
        return files[0].path.stat().st_dev if files else 0
    except OSError:
        return 0


class Fetch:
    """One load of files into their memory."""

    def __init__(self, files: Sequence[LoadingFile], *, readers: int = 0, direct: bool = True) -> None:
        """`readers` fixes their number, and nothing is measured; 0 measures. `direct` False never uses O_DIRECT."""
        self._work = Work(files)
        self._direct = direct
        self._fixed = readers
        self._wanted = 0  # readers with a higher number stop
        self._threads: list[Thread] = []
        self._read_bytes = 0 if readers else _TRIAL_READ_BYTES  # of one call; 0 for a whole piece
        self._device = _device(files)
        self._size_bytes = sum(file.sealed.size_bytes for file in files)
        self._answer_s = 0.0  # the time that the latest read took
        self._is_read = Event()

    def run(self) -> FetchReport:
        """Read and check everything.

        Raises:
            WrongBytes: A file has other bytes than the seal says. Nothing of it must be used.
            UnreadableMount: The mount failed a read.
        """
        began = time.monotonic()
        hashers = [Thread(target=self._check, daemon=True) for _ in range(_HASHERS)]
        for hasher in hashers:
            hasher.start()
        if known := self._fixed or self._remembered():
            self._read_bytes = 0
            self._use(known)
        else:
            self._choose()
        self._read_bytes = 0
        self._is_read.wait()
        read_s = time.monotonic() - began
        for thread in (*self._threads, *hashers):
            thread.join()
        if self._work.error is not None:
            raise self._work.error
        mode = "stream" if self._wanted == 1 else "stripes" if self._work.is_striped else "ordered"
        took = time.monotonic() - began
        return FetchReport(mode, self._wanted, self._direct, self._work.bytes_read, took, took - read_s)

    def _choose(self) -> None:
        """Add readers while that pays, until 64 MiB are read; then keep the best number."""
        self._use(1)
        best, best_rate = 1, self._rate()
        numbers: tuple[int, ...] = READERS
        if best_rate >= FAST_BYTES_S:
            numbers, self._read_bytes = READERS_OF_STREAM, 0
            best_rate = self._rate()
        for number in numbers[1:]:
            if self._work.is_read or self._work.bytes_read >= min(MEASURED_BYTES, self._size_bytes // 2):
                break
            self._use(number)
            rate = self._rate()
            if rate < _GAIN * best_rate:
                break
            best, best_rate = number, rate
        self._wanted = best
        if self._size_bytes >= 2 * _TRIAL_READ_BYTES * best:  # a shorter file tells too little
            _chosen[self._device] = (best, time.monotonic())

    def _remembered(self) -> int:
        """How many readers were best when this mount was measured last; 0 if that is not known, or was long ago."""
        number, at = _chosen.get(self._device, (0, 0.0))
        return number if time.monotonic() - at < _REMEMBERED_S else 0

    def _rate(self) -> float:
        """Bytes a second with the readers of now: first each makes a call, then it is measured."""
        self._pause(max(_TRIAL_S / 3, self._answer_s))
        begin_bytes, began = self._work.bytes_read, time.monotonic()
        self._pause(max(_TRIAL_S, 1.5 * self._answer_s))
        if self._work.bytes_read == begin_bytes:  # a call takes longer than that
            self._pause(2 * max(_TRIAL_S, self._answer_s))
        return (self._work.bytes_read - begin_bytes) / (time.monotonic() - began)

    def _pause(self, seconds: float) -> None:
        self._is_read.wait(seconds)

    def _use(self, number: int) -> None:
        self._wanted = number
        while len(self._threads) < number:
            thread = Thread(target=self._read, args=(len(self._threads),), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _read(self, number: int) -> None:
        descriptor: Descriptor | None = None
        opened: LoadingFile | None = None
        try:
            while number < self._wanted and (segment := self._work.stripe()) is not None:
                while number < self._wanted and (pieces := self._work.take(segment)):
                    if descriptor is None or opened is not pieces[0].file:
                        if descriptor is not None:
                            descriptor.close()
                        descriptor, opened = Descriptor(pieces[0].file.path, direct=self._direct), pieces[0].file
                    self._fill(descriptor, pieces)
                self._work.give_back(segment)
        except Exception as error:  # noqa: BLE001 -- a reader that dies unheard would leave the load waiting for ever
            self._fail(error)
        finally:
            if descriptor is not None:
                descriptor.close()
            if self._work.is_read:
                self._is_read.set()

    def _check(self) -> None:
        try:
            self._work.check_all()
        except Exception as error:  # noqa: BLE001 -- as in `_read`
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, ServingError):
            self._work.fail(error)
            return
        failed = ServingError(f"the load failed: {error!r}")
        failed.__cause__ = error
        self._work.fail(failed)

    def _fill(self, descriptor: Descriptor, pieces: Sequence[Piece]) -> None:
        begin, file = pieces[0].offset_bytes, pieces[0].file
        size_bytes, done = sum(piece.size_bytes for piece in pieces), 0
        while done < size_bytes:
            began = time.monotonic()
            step = min(self._read_bytes or size_bytes, size_bytes - done)
            descriptor.read_into(file.memory[begin + done :], begin + done, step)
            self._direct = self._direct and descriptor.direct
            self._work.count(step)
            self._answer_s = time.monotonic() - began
            done += step
        self._work.arrived(pieces)
