"""The way of one file to one target, and the crew of threads that serves all ways to that target."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, Final, TypeVar

from syncd import retry
from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.parts import Part
from syncd.errors import Cancelled, Corrupt, SyncdError, Unavailable
from syncd.target.base import Depth, Inspection, Journal, Target, Writer
from syncd.transfer.buffers import Lease
from syncd.transfer.halt import Halt
from syncd.transfer.progress import Progress

T = TypeVar("T")


class Crew:
    """Sends to one target, so many parts at a time. Its first error past all retries puts it out."""

    def __init__(self, target: Target, journal: Journal, progress: Progress, halt: Halt, policy: retry.Retry) -> None:
        self.target: Final = target
        self.journal: Final = journal
        self.progress: Final = progress
        self.error: SyncdError | None = None
        self._policy = policy
        self._halt = halt

    def start(self, threads: int) -> None:
        """Begin; nothing can be submitted before."""
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"send-{self.target.name}")

    def join(self) -> None:
        """Wait until all that was submitted is done."""
        self._pool.shutdown()

    @property
    def is_out(self) -> bool:
        """Whether nothing more is sent to this target."""
        return self.error is not None or self._halt.is_set()

    def submit(self, work: Callable[..., None], *arguments: Any) -> None:
        """Do something in a thread of the crew."""
        self._pool.submit(work, *arguments).add_done_callback(self._halt.look)

    def inspect(self, manifest: Manifest) -> Future[Inspection]:
        """Look what is there, in a thread of the crew."""
        return self._pool.submit(
            self.call, lambda: self.target.inspect(manifest, Depth.CHECKSUMS, self.journal), (Unavailable,)
        )

    def call(self, fn: Callable[[], T], on: tuple[type[SyncdError], ...] = (Unavailable,)) -> T:
        """Retry by the policy; the waits end when the crew is out."""
        return retry.call(self._policy, fn, on=on, wait=self._wait)

    def fail(self, error: SyncdError) -> None:
        """Nothing more goes to this target. Only the first error counts: the others follow from it."""
        if self.error is None and not (isinstance(error, Cancelled) and self._halt.is_set()):
            self.error = error

    def _wait(self, seconds: float) -> bool:
        return self._halt.wait(seconds, lambda: self.error is not None)


class Lane:
    """One file on its way to one target. `offer`, `end` and `drop` are for the thread that reads the file."""

    def __init__(self, crew: Crew, manifest: Manifest, entry: Entry, parts: tuple[Part, ...]) -> None:
        self.crew: Final = crew
        self._manifest = manifest
        self._entry = entry
        self._parts = parts
        self._lock = Lock()
        self._open = 1  # what must end before the file can: the reader, and each part on its way
        self._ended: tuple[Digest, int] | None = None
        self._writer: Writer | None = None
        self._writer_lock = Lock()
        self._held: list[Lease] = []

    def offer(self, part: Part, lease: Lease, crc64: int) -> None:
        """Send this part when a thread is free. The lease is held as long as it is needed."""
        if self.crew.is_out:
            return
        lease.hold()
        with self._lock:
            self._open += 1
        self.crew.submit(self._send, part, lease, crc64)

    def end(self, sha256: Digest, crc64: int) -> None:
        """All parts have been offered. The file is finished when the last of them is accepted."""
        self._ended = (sha256, crc64)
        self.crew.submit(self._less)

    def drop(self) -> None:
        """The file cannot be read to its end. What was accepted is kept for a later writer."""
        self.crew.submit(self._less)

    def _send(self, part: Part, lease: Lease, crc64: int) -> None:
        try:
            if not self.crew.is_out:
                self._send_once_or_more(part, lease, crc64)
        except SyncdError as error:
            self.crew.fail(error)
        finally:
            # A writer of a single part may keep the bytes until it is finished.
            if len(self._parts) == 1:
                self._held.append(lease)
            else:
                lease.release()
            self._less()

    def _send_once_or_more(self, part: Part, lease: Lease, crc64: int) -> None:
        crew, path = self.crew, self._entry.path
        writer = self._opened()
        if crew.call(lambda: writer.has(part, crc64)):
            crew.progress.kept(crew.target.name, path, part.size_bytes)
            return
        tries = 0

        def send() -> None:
            nonlocal tries
            tries += 1
            if tries > 1:
                crew.progress.resent(crew.target.name)
            writer.send(part, lease.view, crc64)

        # A bit that flipped on the wire will not flip again; a part is replaced by sending it again.
        crew.call(send, on=(Unavailable, Corrupt))
        crew.progress.sent(crew.target.name, path, part.size_bytes)

    def _opened(self) -> Writer:
        with self._writer_lock:
            if self._writer is None:
                target, journal = self.crew.target, self.crew.journal
                self._writer = self.crew.call(
                    lambda: target.writer(self._manifest, self._entry, self._parts, journal),
                )
            return self._writer

    def _less(self) -> None:
        with self._lock:
            self._open -= 1
            if self._open:
                return
        try:
            self._close()
        except SyncdError as error:
            self.crew.fail(error)
        finally:
            for lease in self._held:
                lease.release()

    def _close(self) -> None:
        if self._ended is None or self.crew.is_out:
            if self._writer is not None:
                self._writer.abandon()
            return
        writer = self._opened()
        sha256, crc64 = self._ended
        self.crew.call(lambda: writer.finish(sha256, crc64))
        self.crew.progress.finished(self.crew.target.name, self._entry.path)
