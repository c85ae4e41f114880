"""Ledger of one target: which files are finished, which parts were counted, which files are deferred."""

from __future__ import annotations

from threading import Lock

from syncd.artifact.manifest import Entry
from syncd.artifact.names import FilePath
from syncd.transfer.progress import Progress


class Ledger:
    """Safe from several threads."""

    def __init__(self, target: str, files: int, progress: Progress) -> None:
        self._target = target
        self._progress = progress
        self._lock = Lock()
        self._files = files
        self._finished: set[FilePath] = set()
        self._counted: set[tuple[FilePath, int]] = set()
        self._deferred: list[Entry] = []

    def has(self, path: FilePath) -> bool:
        """Whether this file is finished here."""
        return path in self._finished

    def put(self, path: FilePath) -> bool:
        """A file is there and proven. Whether it was the last."""
        self._progress.finished(self._target, path)
        with self._lock:
            self._finished.add(path)
            return len(self._finished) == self._files

    def is_new(self, path: FilePath, number: int) -> bool:
        """Whether this part was not counted before: one that is checked again, or sent again, counts once."""
        with self._lock:
            is_new = (path, number) not in self._counted
            self._counted.add((path, number))
        return is_new

    def defer(self, entry: Entry) -> None:
        """Leave this file for later."""
        with self._lock:
            self._deferred.append(entry)

    def do_again(self, entry: Entry) -> None:
        """Defer a file that copied parts did not make: nothing of it counts."""
        with self._lock:
            self._counted = {seen for seen in self._counted if seen[0] != entry.path}
        self._progress.undone(self._target, entry.path)
        self.defer(entry)

    def take_deferred(self) -> list[Entry]:
        """What was left for later."""
        with self._lock:
            taken, self._deferred = self._deferred, []
        return taken


class Countdown:
    """A count that begins with one, for the caller that begins the rest. Safe from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._count = 1

    def more(self, count: int = 1) -> None:
        """So many more must end. To be said before any of them can."""
        with self._lock:
            self._count += count

    def ended(self) -> bool:
        """One has ended. Whether it was the last."""
        with self._lock:
            self._count -= 1
            return not self._count
