"""The crew of threads that serves one target, and what waits for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Condition
from typing import Any, Final, TypeVar

from syncd import retry
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import FilePath
from syncd.errors import Cancelled, SyncdError, Unavailable
from syncd.target.base import Depth, Inspection
from syncd.transfer.blame import Blame
from syncd.transfer.buffers import Lease
from syncd.transfer.halt import Halt
from syncd.transfer.origins import Origins
from syncd.transfer.progress import Progress
from syncd.transfer.settings import Destination, TransferSettings

T = TypeVar("T")
_LOOK_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Load:
    """A part that waits for a thread. Exactly one of the two is called."""

    lease: Lease
    send: Callable[[], None]
    skip: Callable[[], None]


class Crew:
    """Sends to one target, so many parts at a time. Its first error past all retries puts it out.

    One that the others have to wait for is let go: what waits for it is dropped, and it is fed by itself from then on.
    """

    def __init__(
        self, to: Destination, progress: Progress, halt: Halt, settings: TransferSettings, share_bytes: int
    ) -> None:
        self.target: Final = to.target
        self.journal: Final = to.journal
        self.progress: Final = progress
        self.origins: Final = Origins(to.target.name, to.journal)
        self._finish = to.finished
        self.error: SyncdError | None = None
        self.is_let_go = False
        self._settings = settings
        self._halt = halt
        self._share_bytes = share_bytes
        self._blame = Blame(settings.patience_s)
        self._changed = Condition()
        self._waiting: deque[Load] = deque()
        self._in_flight = self._spare_bytes = self._held_bytes = 0
        self._lanes = 0
        self._deferred: list[Entry] = []
        self._finished: set[FilePath] = set()
        self._counted: set[tuple[FilePath, int]] = set()

    def start(self, files: int) -> None:
        """Begin; nothing can be submitted before. The target is finished when so many files are there."""
        self._files = files
        self._pool = ThreadPoolExecutor(self._settings.parts_in_flight, thread_name_prefix=f"send-{self.target.name}")

    def join(self) -> None:
        """Wait until all that was submitted is done."""
        self.wait_until(lambda: not self._lanes)
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
        wait = self._halt.wait
        return retry.call(self._settings.retry, fn, on=on, wait=lambda s: wait(s, lambda: self.error is not None))

    def wait_for_bandwidth(self, size_bytes: int) -> None:
        """Wait until so much may be sent. Raises Cancelled: The crew is out."""
        if self._settings.bandwidth is not None:
            self._settings.bandwidth.take(size_bytes, lambda s: self._halt.wait(s, lambda: self.error is not None))

    def fail(self, error: SyncdError) -> None:
        """Nothing more goes to this target. Only the first error counts: the others follow from it."""
        with self._changed:
            if self.error is not None or (isinstance(error, Cancelled) and self._halt.is_set()):
                return
            self.error = error
        self._drop_waiting()

    # what is on its way

    def carry(self, load: Load, *, is_late: bool) -> None:
        """Have a part sent as soon as a thread and a share of the memory are free. Skipped once the crew is let go."""
        with self._changed:
            is_wanted = self.error is None and (is_late or not self.is_let_go)
            if is_wanted:
                self._held_bytes += load.lease.capacity_bytes
                self._waiting.append(load)
        if is_wanted:
            self._pump()
        else:
            load.skip()

    def put_down(self, lease: Lease) -> None:
        """A part that was carried needs its buffer no longer."""
        lease.release()
        with self._changed:
            self._in_flight -= 1
            self._held_bytes -= lease.capacity_bytes
            self._spare_bytes -= 0 if lease.is_common else lease.capacity_bytes
            self._changed.notify_all()
        self._pump()

    def entered(self) -> None:
        """One more thing is on its way that `join` has to wait for."""
        with self._changed:
            self._lanes += 1

    def left(self) -> None:
        """It has come to its end."""
        with self._changed:
            self._lanes -= 1
            self._changed.notify_all()

    def wait_for_room(self, size_bytes: int, limit_bytes: Callable[[], int]) -> None:
        """Wait until no more than so much memory is held for this target with this part, or only this part."""
        self.wait_until(lambda: self.is_out or not self._held_bytes or self._held_bytes + size_bytes <= limit_bytes())

    def wait_until(self, is_enough: Callable[[], bool]) -> None:
        """Wait for something that changes with what is on its way."""
        with self._changed:
            while not is_enough():
                self._changed.wait(_LOOK_S)

    # being let go

    @property
    def is_holding(self) -> bool:
        """Whether buffers are held for this target."""
        return self._held_bytes > 0

    @property
    def is_idle(self) -> bool:
        """Whether it has done all it was given of the files under way, and waits for more."""
        return self._lanes > 0 and not self._held_bytes

    def blame(self, waited_s: float, now_s: float) -> bool:
        """The others have waited for this one. Whether that was too long, and it was let go by this call."""
        with self._changed:
            if not self._blame.note(waited_s, now_s) or self.is_let_go:
                return False
            self.is_let_go = True
        self._drop_waiting()
        return True

    def defer(self, entry: Entry) -> None:
        """Leave this file for later."""
        with self._changed:
            self._deferred.append(entry)

    def do_again(self, entry: Entry) -> None:
        """What the target had did not make this file: nothing of it counts, and it is left for later."""
        with self._changed:
            self._counted = {seen for seen in self._counted if seen[0] != entry.path}
        self.progress.undone(self.target.name, entry.path)
        self.defer(entry)

    def take_deferred(self) -> list[Entry]:
        """What was deferred up to now, once nothing of it is on its way any more."""
        with self._changed:
            self.wait_until(lambda: not self._lanes)
            taken, self._deferred = self._deferred, []
        return taken

    # what is there

    def has(self, path: FilePath) -> bool:
        """Whether this file is finished here."""
        return path in self._finished

    def finish(self, path: FilePath) -> None:
        """A file is there and proven."""
        self.progress.finished(self.target.name, path)
        with self._changed:
            self._finished.add(path)
            is_whole = len(self._finished) == self._files
        if is_whole:
            self.entered()
            self.submit(self._tell)

    def is_new(self, path: FilePath, number: int) -> bool:
        """Whether this part was not counted before: one that is looked at again, or sent again, counts once."""
        with self._changed:
            is_new = (path, number) not in self._counted
            self._counted.add((path, number))
        return is_new

    def _tell(self) -> None:
        try:
            if self._finish is not None:
                self._finish()
        except SyncdError as error:
            self.fail(error)
        finally:
            self.left()

    def _drop_waiting(self) -> None:
        with self._changed:
            dropped = list(self._waiting)
            self._waiting.clear()
            self._held_bytes -= sum(load.lease.capacity_bytes for load in dropped)
            self._changed.notify_all()
        for load in dropped:
            load.skip()

    def _pump(self) -> None:
        with self._changed:
            while self._waiting and self._may_go(self._waiting[0].lease):
                load = self._waiting.popleft()
                self._in_flight += 1
                self._spare_bytes += 0 if load.lease.is_common else load.lease.capacity_bytes
                self.submit(load.send)

    def _may_go(self, lease: Lease) -> bool:
        if self._in_flight >= self._settings.parts_in_flight:
            return False
        return lease.is_common or not self._spare_bytes or self._spare_bytes + lease.capacity_bytes <= self._share_bytes
