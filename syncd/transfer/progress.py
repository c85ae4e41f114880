"""Counters of a copy: for the eyes while it runs, and for its report afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock

from syncd.artifact.manifest import Manifest
from syncd.artifact.names import FilePath


@dataclass(frozen=True, slots=True)
class FileProgress:
    """One file at one target. `bytes_kept` were there already."""

    bytes_total: int
    bytes_sent: int = 0
    bytes_kept: int = 0
    is_finished: bool = False


@dataclass(frozen=True, slots=True)
class TargetProgress:
    """One target, at one moment. A part that had to be sent more than once counts once as sent."""

    files: Mapping[FilePath, FileProgress]
    parts_sent: int
    parts_kept: int
    parts_resent: int  # sends that were needed beyond the first of a part

    @property
    def bytes_total(self) -> int:
        return sum(file.bytes_total for file in self.files.values())

    @property
    def bytes_sent(self) -> int:
        return sum(file.bytes_sent for file in self.files.values())

    @property
    def bytes_kept(self) -> int:
        return sum(file.bytes_kept for file in self.files.values())

    @property
    def files_finished(self) -> int:
        return sum(file.is_finished for file in self.files.values())

    def counters(self) -> dict[str, int]:
        """The sums, named for a log line or a record."""
        return {
            "bytes_total": self.bytes_total,
            "bytes_sent": self.bytes_sent,
            "bytes_kept": self.bytes_kept,
            "files_total": len(self.files),
            "files_finished": self.files_finished,
            "parts_sent": self.parts_sent,
            "parts_kept": self.parts_kept,
            "parts_resent": self.parts_resent,
        }


@dataclass(frozen=True, slots=True)
class Glance:
    """The sums of one target, and the files under way as (path, bytes there, bytes in all)."""

    counters: Mapping[str, int]
    going: tuple[tuple[FilePath, int, int], ...]


@dataclass
class _File:
    bytes_total: int
    bytes_sent: int = 0
    bytes_kept: int = 0
    is_finished: bool = False


@dataclass
class _Target:
    files: dict[FilePath, _File]
    parts: dict[str, int] = field(default_factory=lambda: {"sent": 0, "kept": 0, "resent": 0})
    # Kept up to date with each change, so that a look costs the same for ten files and for a hundred thousand.
    sums: dict[str, int] = field(default_factory=lambda: {"bytes_sent": 0, "bytes_kept": 0, "files_finished": 0})
    going: dict[FilePath, _File] = field(default_factory=dict)

    def moved(self, path: FilePath, what: str, size_bytes: int) -> None:
        """Count bytes of one file."""
        file = self.files[path]
        setattr(file, what, getattr(file, what) + size_bytes)
        self.sums[what] += size_bytes
        if not file.is_finished:
            self.going[path] = file


class Progress:
    """What has been carried to each target. Safe from several threads; `snapshot` may be called at any time."""

    def __init__(self, manifest: Manifest, targets: Iterable[str]) -> None:
        self._lock = Lock()
        self._bytes_total = manifest.size_bytes
        self._targets = {
            name: _Target({entry.path: _File(entry.size_bytes) for entry in manifest.entries}) for name in targets
        }

    def sent(self, target: str, path: FilePath, size_bytes: int) -> None:
        """A part was accepted."""
        with self._lock:
            self._targets[target].moved(path, "bytes_sent", size_bytes)
            self._targets[target].parts["sent"] += 1

    def kept(self, target: str, path: FilePath, size_bytes: int, parts: int = 1) -> None:
        """Parts were there already, and have been proven."""
        with self._lock:
            self._targets[target].moved(path, "bytes_kept", size_bytes)
            self._targets[target].parts["kept"] += parts

    def resent(self, target: str) -> None:
        """A part is about to be sent once more, because it failed or nobody knows."""
        with self._lock:
            self._targets[target].parts["resent"] += 1

    def finished(self, target: str, path: FilePath) -> None:
        """A file is visible."""
        with self._lock:
            seen = self._targets[target]
            if not seen.files[path].is_finished:
                seen.files[path].is_finished = True
                seen.sums["files_finished"] += 1
            seen.going.pop(path, None)

    def glance(self) -> dict[str, Glance]:
        """The sums and the files under way, by target: for eyes that come back every second."""
        with self._lock:
            return {name: _glanced(target, self._bytes_total) for name, target in self._targets.items()}

    def snapshot(self) -> dict[str, TargetProgress]:
        """All counters at one moment, by target."""
        with self._lock:
            return {name: _frozen(target) for name, target in self._targets.items()}


def _glanced(target: _Target, bytes_total: int) -> Glance:
    parts = {f"parts_{word}": count for word, count in target.parts.items()}
    counters = {"bytes_total": bytes_total, "files_total": len(target.files), **target.sums, **parts}
    going = tuple((path, f.bytes_sent + f.bytes_kept, f.bytes_total) for path, f in target.going.items())
    return Glance(counters, going)


def _frozen(target: _Target) -> TargetProgress:
    files = {
        path: FileProgress(file.bytes_total, file.bytes_sent, file.bytes_kept, file.is_finished)
        for path, file in target.files.items()
    }
    return TargetProgress(files, target.parts["sent"], target.parts["kept"], target.parts["resent"])
