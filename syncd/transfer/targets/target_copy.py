"""Copy to one target: its state, its worker threads, and how each call to it is made."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from threading import Condition
from typing import Final, TypeVar

from syncd import retry
from syncd.artifact.manifest import Manifest
from syncd.artifact.names import FilePath
from syncd.errors import Cancelled, SyncdError, Unavailable
from syncd.targets.base import Depth, Inspection
from syncd.transfer.flow.concurrency_limiter import ConcurrencyLimiter
from syncd.transfer.flow.stall_detector import StallDetector
from syncd.transfer.progress import Progress
from syncd.transfer.settings import CopySettings, Destination
from syncd.transfer.targets.dedup_index import DedupIndex
from syncd.transfer.targets.ledger import Ledger
from syncd.transfer.targets.send_queue import SendQueue
from syncd.transfer.workers.worker_pool import CallWatch
from syncd.watchdog import calling

T = TypeVar("T")
SYNCED_BYTES_S: Final = 4 << 20  # a mount that has taken all bytes may still have to write them, and says nothing
_POLL_S: Final = 0.1


class TargetCopy:
    """Sends to one target, several parts at a time. Its first error past all retries closes it.

    A target that the others would wait for is detached: its queue is dropped, and it is fed alone from then on.
    A target that hangs is closed, and its threads are abandoned.
    """

    def __init__(
        self, to: Destination, manifest: Manifest, progress: Progress, watch: CallWatch, settings: CopySettings
    ) -> None:
        self.target: Final = to.target
        self.journal: Final = to.journal
        self.manifest: Final = manifest
        self.progress: Final = progress
        self.dedup: Final = DedupIndex(to.target.name, to.journal, to.nearby)
        self.error: SyncdError | None = None
        self.is_detached = False
        self.ledger: Final = Ledger(to.target.name, len(manifest.entries), progress)
        self._told = to.finished
        self._settings = settings
        self._leaked_threads = watch.leaked_threads
        self._scope = watch.scope
        self._stalls = StallDetector(settings.patience_s)
        self._changed = Condition()
        self.pending = 0  # files and bundles that have not ended
        self._out_s = float("inf")
        self._found: Inspection | None = None
        self._workers = watch.workers(to.target.name, settings.parts_in_flight, lambda: self.is_closed, self.fail)
        self.submit: Final = self._workers.submit
        self._limiter = ConcurrencyLimiter(settings.parts_in_flight, lambda: self.is_closed, to.target.pace)

    @property
    def at_once(self) -> int:
        """How many requests one thread may have under way now."""
        return max(1, min(self._limiter.allowed, self.target.puts_at_once))

    def start(self, share_bytes: int) -> None:
        """Begin the inspection, whose result is `found`. Nothing can be queued before."""
        self.queue = SendQueue(self._changed, share_bytes, lambda: self._limiter.allowed, self.submit)
        self.begin()
        self.submit(self._inspect)

    def found(self) -> Inspection | None:
        """The result of the inspection; None where it failed, and the target is closed."""
        self.wait_until(lambda: self.is_closed or self._found is not None)
        return self._found

    def join(self) -> None:
        """Wait until all submitted work is done and recorded. Threads that outlast the closing are abandoned."""
        self.wait_until(lambda: not self.pending or self.is_left())
        self._workers.close(self.is_left)
        try:
            self.journal.settle()
        except SyncdError as error:
            self.fail(error)

    def is_left(self) -> bool:
        """Whether threads that still work for it are abandoned."""
        return self._scope.is_grace_over() or time.monotonic() - self._out_s >= self._settings.grace_s

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is sent to this target."""
        return self.error is not None or self._scope.is_set()

    def call(
        self,
        what: str,
        fn: Callable[[], T],
        on: tuple[type[SyncdError], ...] = (Unavailable,),
        *,
        size_bytes: int = 0,
        patience_s: float = 0.0,
    ) -> T:
        """Make one call to the target: retried by the policy, limited in number, and by bandwidth for `size_bytes`.

        It may be silent for `patience_s` longer than other calls. All waits end when the target is closed.
        """

        def once() -> T:
            with self._limiter.slot():
                if size_bytes and self._settings.bandwidth is not None:
                    self._settings.bandwidth.take(size_bytes, self._wait)
                with calling(f"{what} at {self.target.name}", patience_s):
                    return fn()

        try:
            answer = retry.call(self._settings.retry, once, on=on, wait=self._wait)
        except SyncdError as error:
            self.target.pace.explain(error)
            raise
        if size_bytes:
            self._limiter.sent(size_bytes, is_short=self.queue.is_short)
        return answer

    def fail(self, error: SyncdError) -> None:
        """Close the target. Only the first error counts: the others follow from it."""
        with self._changed:
            if self.error is not None or (isinstance(error, Cancelled) and self._scope.is_set()):
                return
            self.error = error
            self._out_s = time.monotonic()
            self._changed.notify_all()
        self.queue.drop()

    def begin(self) -> None:
        """Count one more file or bundle that `join` waits for."""
        with self._changed:
            self.pending += 1

    def left(self) -> None:
        """Count its end."""
        with self._changed:
            self.pending -= 1
            self._changed.notify_all()

    def wait_until(self, is_enough: Callable[[], bool]) -> None:
        """Wait for a condition that changes as files and bundles end."""
        with self._changed:
            while not is_enough():
                self._changed.wait(_POLL_S)

    def note_stall(self, waited_s: float, now_s: float) -> bool:
        """Note that the others have waited for this one. Returns whether this call detached it for that."""
        with self._changed:
            if not self._stalls.note(waited_s, now_s, self.queue.share) or self.is_detached:
                return False
            self.is_detached = True
        self.queue.drop()
        return True

    def finish(self, path: FilePath) -> None:
        """A file is there and proven."""
        if self.ledger.put(path):
            self.begin()
            self.submit(self._tell)

    def _wait(self, seconds: float) -> bool:
        return self._scope.wait(seconds, lambda: self.error is not None)

    def _inspect(self) -> None:
        def inspect() -> Inspection:
            return self.target.inspect(self.manifest, Depth.CHECKSUMS, self.journal)

        try:
            self._leaked_threads.refuse(self.target.name)
            with calling(f"inspecting {self.target.name}"):  # the target repeats each call of it by itself
                found = inspect()
            if found.wrong and not found.sealed:  # nothing reads them, and they would stay in the way
                self.call("removing wrong files", partial(self.target.remove_wrong, self.manifest, found.wrong))
            self._found = found
        except SyncdError as error:
            self.fail(error)
        finally:
            self.left()

    def _tell(self) -> None:
        try:
            self.journal.settle()
            if self._told is not None:
                with calling(f"sealing at {self.target.name}"):
                    self._told()
        except SyncdError as error:
            self.fail(error)
        finally:
            self.left()
