"""The crew that serves one target: how it stands, and what waits for it. What it carries is in `loads.py`."""

from __future__ import annotations

import time
from collections.abc import Callable
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
_LOOK_S: Final = 0.1


class TargetCopy:
    """Sends to one target, so many parts at a time. Its first error past all retries puts it out.

    One that the others have to wait for is let go: what waits for it is dropped, and it is fed by itself from then on.
    One that hangs is given up: its threads are left behind.
    """

    def __init__(
        self, to: Destination, manifest: Manifest, progress: Progress, watch: CallWatch, settings: CopySettings
    ) -> None:
        self.target: Final = to.target
        self.journal: Final = to.journal
        self.manifest: Final = manifest
        self.progress: Final = progress
        self.origins: Final = DedupIndex(to.target.name, to.journal, to.nearby)
        self.error: SyncdError | None = None
        self.is_let_go = False
        self.shelf: Final = Ledger(to.target.name, len(manifest.entries), progress)
        self._told = to.finished
        self._settings = settings
        self._adrift = watch.adrift
        self._halt = watch.halt
        self._blame = StallDetector(settings.patience_s)
        self._changed = Condition()
        self.lanes = 0  # what is on its way
        self._out_s = float("inf")
        self._found: Inspection | None = None
        self._hands = watch.hands(to.target.name, settings.parts_in_flight, lambda: self.is_out, self.fail)
        self.submit: Final = self._hands.submit
        self._turns = ConcurrencyLimiter(settings.parts_in_flight, lambda: self.is_out)

    @property
    def at_once(self) -> int:
        """How many requests one thread may have under way now."""
        return max(1, min(self._turns.allowed, self.target.puts_at_once))

    def start(self, share_bytes: int) -> None:
        """Begin to look what is there; `found` says what. Nothing can be carried before."""
        self.loads = SendQueue(self._changed, share_bytes, lambda: self._turns.allowed, self.submit)
        self.entered()
        self.submit(self._inspect)

    def found(self) -> Inspection | None:
        """What is there; None if that cannot be known, and the crew is out."""
        self.wait_until(lambda: self.is_out or self._found is not None)
        return self._found

    def join(self) -> None:
        """Wait until all that was submitted is done, and remembered. Who does not stop once the crew is out is left."""
        self.wait_until(lambda: not self.lanes or self.is_left())
        self._hands.dismiss(self.is_left)
        try:
            self.journal.settle()
        except SyncdError as error:
            self.fail(error)

    def is_left(self) -> bool:
        """Whether who is still at work for it is to be left behind."""
        return self._halt.has_waited() or time.monotonic() - self._out_s >= self._settings.leave_s

    @property
    def is_out(self) -> bool:
        """Whether nothing more is sent to this target."""
        return self.error is not None or self._halt.is_set()

    def call(
        self,
        what: str,
        fn: Callable[[], T],
        on: tuple[type[SyncdError], ...] = (Unavailable,),
        *,
        size_bytes: int = 0,
        patience_s: float = 0.0,
    ) -> T:
        """Ask something of the target when it is its turn and so many bytes may be sent; retried by the policy.

        It may be silent for `patience_s` beyond what calls may. All waits end when the crew is out.
        """

        def once() -> T:
            with self._turns.turn():
                if size_bytes and self._settings.bandwidth is not None:
                    self._settings.bandwidth.take(size_bytes, self._wait)
                with calling(f"{what} at {self.target.name}", patience_s):
                    return fn()

        answer = retry.call(self._settings.retry, once, on=on, wait=self._wait)
        if size_bytes:
            self._turns.sent(size_bytes, is_short=self.loads.is_short)
        return answer

    def fail(self, error: SyncdError) -> None:
        """Nothing more goes to this target. Only the first error counts: the others follow from it."""
        with self._changed:
            if self.error is not None or (isinstance(error, Cancelled) and self._halt.is_set()):
                return
            self.error = error
            self._out_s = time.monotonic()
            self._changed.notify_all()
        self.loads.drop()

    def entered(self) -> None:
        """One more thing is on its way that `join` has to wait for."""
        with self._changed:
            self.lanes += 1

    def left(self) -> None:
        """It has come to its end."""
        with self._changed:
            self.lanes -= 1
            self._changed.notify_all()

    def wait_until(self, is_enough: Callable[[], bool]) -> None:
        """Wait for something that changes with what is on its way."""
        with self._changed:
            while not is_enough():
                self._changed.wait(_LOOK_S)

    def blame(self, waited_s: float, now_s: float) -> bool:
        """The others have waited for this one. Whether that was too long, and it was let go by this call."""
        with self._changed:
            if not self._blame.note(waited_s, now_s, self.loads.share) or self.is_let_go:
                return False
            self.is_let_go = True
        self.loads.drop()
        return True

    def finish(self, path: FilePath) -> None:
        """A file is there and proven."""
        if self.shelf.put(path):
            self.entered()
            self.submit(self._tell)

    def _wait(self, seconds: float) -> bool:
        return self._halt.wait(seconds, lambda: self.error is not None)

    def _inspect(self) -> None:
        def look() -> Inspection:
            return self.target.inspect(self.manifest, Depth.CHECKSUMS, self.journal)

        try:
            self._adrift.refuse(self.target.name)
            self._found = self.call("looking what is there", look)
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
