"""Copy to one target: what is there, its worker threads, and how each call to it is made."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from syncd import retry
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import FilePath
from syncd.errors import Cancelled, SyncdError, Unavailable
from syncd.targets.base import Depth, Inspection
from syncd.transfer.flow.send_queue import FlowLimits, SendQueue
from syncd.transfer.progress import Progress
from syncd.transfer.settings import CopySettings, Destination
from syncd.transfer.targets.dedup_index import DedupIndex
from syncd.transfer.workers.worker_pool import CallWatch, CancelScope
from syncd.watchdog import calling

T = TypeVar("T")
SYNCED_BYTES_S: Final = 4 << 20  # a mount that has taken all bytes may still have to write them, and says nothing
_POLL_S: Final = 0.1


class TargetCopy:
    """Sends to one target, several parts at a time. Its first error past all retries cancels its scope.

    A target that hangs is cancelled too, and its threads are abandoned. Safe from several threads.
    """

    def __init__(
        self,
        to: Destination,
        manifest: Manifest,
        progress: Progress,
        watch: CallWatch,
        settings: CopySettings,
        share_bytes: int,
    ) -> None:
        self.target: Final = to.target
        self.journal: Final = to.journal
        self.manifest: Final = manifest
        self.progress: Final = progress
        self.dedup: Final = DedupIndex(to.target.name, to.journal, to.nearby)
        self.scope: Final[CancelScope] = watch.scope.child()
        self.pending = 0  # files and bundles that have not ended
        self._on_finished = to.finished
        self._settings = settings
        self._leaked_threads = watch.leaked_threads
        self._inspection: Inspection | None = None
        self._counted: dict[FilePath, set[int]] = {}  # parts of files that are not finished
        self._deferred: list[Entry] = []
        self._workers = watch.workers(to.target.name, settings.parts_in_flight, self.scope, self.fail)
        self.submit: Final = self._workers.submit
        limits = FlowLimits(settings.parts_in_flight, share_bytes, settings.patience_s)
        self.queue: Final = SendQueue(limits, self.scope, to.target.pace, self.submit)
        self._changed: Final = self.queue.changed

    @property
    def at_once(self) -> int:
        """How many requests one thread may have under way now."""
        return max(1, min(self.queue.allowed, self.target.puts_at_once))

    @property
    def error(self) -> SyncdError | None:
        """Why nothing more is sent to this target, if that is its own failure."""
        reason = self.scope.reason
        return reason if isinstance(reason, SyncdError) else None

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is sent to this target."""
        return self.scope.is_set()

    @property
    def is_detached(self) -> bool:
        """Whether the others no longer wait for it: it is fed alone."""
        return self.queue.is_detached

    def start(self) -> None:
        """Begin the inspection, whose result is `found`."""
        self.begin()
        self.submit(self._inspect)

    def found(self) -> Inspection | None:
        """The result of the inspection; None where it failed, and the target is closed."""
        self.wait_until(lambda: self.is_closed or self._inspection is not None)
        return self._inspection

    def join(self) -> None:
        """Wait until all submitted work is done and recorded. Threads that outlast the closing are abandoned."""
        self.wait_until(lambda: not self.pending or self.scope.is_grace_over())
        self._workers.close(self.scope.is_grace_over)
        try:
            self.journal.settle()
        except SyncdError as error:
            self.fail(error)

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
            with self.queue.slot():
                if size_bytes and self._settings.bandwidth is not None:
                    self._settings.bandwidth.take(size_bytes, self.scope.wait)
                with calling(f"{what} at {self.target.name}", patience_s):
                    return fn()

        try:
            answer = retry.call(self._settings.retry, once, on=on, wait=self.scope.wait)
        except SyncdError as error:
            self.target.pace.explain(error)
            raise
        if size_bytes:
            self.queue.sent(size_bytes)
        return answer

    def fail(self, error: SyncdError) -> None:
        """Close the target. Only the first error counts: the others follow from it."""
        if isinstance(error, Cancelled) and self.scope.is_set_above():
            return
        if self.scope.cancel(error):
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
        """Wait for a condition that changes as files and bundles end. A cancelled scope does not end the wait."""
        with self._changed:
            while not is_enough():
                self._changed.wait(_POLL_S)

    def finish(self, path: FilePath) -> None:
        """A file is there and proven."""
        with self._changed:
            self._counted.pop(path, None)
        if self.progress.finished(self.target.name, path):
            self.begin()
            self.submit(self._report)

    def has(self, path: FilePath) -> bool:
        """Whether this file is finished here."""
        return self.progress.has(self.target.name, path)

    def count(self, note: Callable[[str, FilePath, int], None], path: FilePath, number: int, size_bytes: int) -> None:
        """Have `progress` note a part. One that is checked again, or sent again, counts once."""
        with self._changed:
            counted = self._counted.setdefault(path, set())
            is_new = number not in counted
            counted.add(number)
        if is_new:
            note(self.target.name, path, size_bytes)

    def defer(self, entry: Entry) -> None:
        """Leave this file for later."""
        with self._changed:
            self._deferred.append(entry)

    def do_again(self, entry: Entry) -> None:
        """Defer a file that copied parts did not make: nothing of it counts."""
        with self._changed:
            self._counted.pop(entry.path, None)
        self.progress.undone(self.target.name, entry.path)
        self.defer(entry)

    def take_deferred(self) -> list[Entry]:
        """What was left for later."""
        with self._changed:
            taken, self._deferred = self._deferred, []
        return taken

    def _inspect(self) -> None:
        def inspect() -> Inspection:
            return self.target.inspect(self.manifest, Depth.CHECKSUMS, self.journal)

        try:
            self._leaked_threads.refuse(self.target.name)
            with calling(f"inspecting {self.target.name}"):  # the target repeats each call of it by itself
                found = inspect()
            if found.wrong and not found.sealed:  # nothing reads them, and they would stay in the way
                self.call("removing wrong files", partial(self.target.remove_wrong, self.manifest, found.wrong))
            self._inspection = found
        except SyncdError as error:
            self.fail(error)
        finally:
            self.left()

    def _report(self) -> None:
        try:
            self.journal.settle()
            if self._on_finished is not None:
                with calling(f"sealing at {self.target.name}"):
                    self._on_finished()
        except SyncdError as error:
            self.fail(error)
        finally:
            self.left()
