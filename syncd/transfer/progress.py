"""Counters of a copy: shown while it runs, and in its report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from syncd.artifact.manifest import Manifest
from syncd.artifact.names import FilePath


@dataclass(frozen=True, slots=True)
class FileProgress:
    """One file at one target. `bytes_kept` were there already, `bytes_copied` by the target itself from what it had."""

    bytes_total: int
    bytes_sent: int = 0
    bytes_kept: int = 0
    bytes_copied: int = 0
    is_finished: bool = False


@dataclass(frozen=True, slots=True)
class TargetProgress:
    """One target, at one moment. A part that had to be sent more than once counts once as sent."""

    files: Mapping[FilePath, FileProgress]
    parts_sent: int
    parts_kept: int
    parts_copied: int
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
    def bytes_copied(self) -> int:
        return sum(file.bytes_copied for file in self.files.values())

    @property
    def files_finished(self) -> int:
        return sum(file.is_finished for file in self.files.values())

    def has_lasting(self, part_bytes: int) -> bool:
        """Whether the next attempt need not do all of it again: a file was finished, or a part of a large one sent."""
        moved = [file for file in self.files.values() if file.bytes_sent or file.bytes_copied]
        return any(file.is_finished or file.bytes_total > part_bytes for file in moved)

    def counters(self) -> dict[str, int]:
        """The sums, named for a log line or a record."""
        return {
            "bytes_total": self.bytes_total,
            "bytes_sent": self.bytes_sent,
            "bytes_kept": self.bytes_kept,
            "bytes_copied": self.bytes_copied,
            "files_total": len(self.files),
            "files_finished": self.files_finished,
            "parts_sent": self.parts_sent,
            "parts_kept": self.parts_kept,
            "parts_copied": self.parts_copied,
            "parts_resent": self.parts_resent,
        }


@dataclass(frozen=True, slots=True)
class ProgressSnapshot:
    """The sums of one target, and the files under way as (path, bytes there, bytes in all)."""

    counters: Mapping[str, int]
    going: tuple[tuple[FilePath, int, int], ...]


_BYTES: Final = ("bytes_sent", "bytes_kept", "bytes_copied")


@dataclass(slots=True)
class _FileCounters:
    bytes_total: int
    bytes_sent: int = 0
    bytes_kept: int = 0
    bytes_copied: int = 0
    is_finished: bool = False

    @property
    def bytes_there(self) -> int:
        return self.bytes_sent + self.bytes_kept + self.bytes_copied


@dataclass
class _TargetCounters:
    files: dict[FilePath, _FileCounters]
    parts: dict[str, int] = field(default_factory=lambda: {"sent": 0, "kept": 0, "copied": 0, "resent": 0})
    # Kept up to date with each change, so that reading them costs the same for ten files and for a hundred thousand.
    sums: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*_BYTES, "files_finished"), 0))
    going: dict[FilePath, _FileCounters] = field(default_factory=dict)

    def moved(self, path: FilePath, what: str, size_bytes: int) -> None:
        """Count bytes of one file."""
        file = self.files[path]
        setattr(file, what, getattr(file, what) + size_bytes)
        self.sums[what] += size_bytes
        if not file.is_finished:
            self.going[path] = file


class Progress:
    """What has been copied to each target. Safe from several threads; `snapshot` may be called at any time."""

    def __init__(self, manifest: Manifest, targets: Iterable[str]) -> None:
        self._lock = Lock()
        self._bytes_total = manifest.size_bytes
        self._targets = {
            name: _TargetCounters({entry.path: _FileCounters(entry.size_bytes) for entry in manifest.entries})
            for name in targets
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

    def copied(self, target: str, path: FilePath, size_bytes: int) -> None:
        """A part was made by the target itself, and has been proven."""
        with self._lock:
            self._targets[target].moved(path, "bytes_copied", size_bytes)
            self._targets[target].parts["copied"] += 1

    def undone(self, target: str, path: FilePath) -> None:
        """Nothing of this file is there after all; what was sent of it will be sent again."""
        with self._lock:
            seen = self._targets[target]
            for what in _BYTES:
                seen.moved(path, what, -getattr(seen.files[path], what))

    def resent(self, target: str) -> None:
        """A part is about to be sent once more, because it failed or its outcome is unknown."""
        with self._lock:
            self._targets[target].parts["resent"] += 1

    def finished(self, target: str, path: FilePath) -> bool:
        """A file is visible. Returns whether it was the last one there."""
        with self._lock:
            seen = self._targets[target]
            is_new = not seen.files[path].is_finished
            if is_new:
                seen.files[path].is_finished = True
                seen.sums["files_finished"] += 1
            seen.going.pop(path, None)
            return is_new and seen.sums["files_finished"] == len(seen.files)

    def has(self, target: str, path: FilePath) -> bool:
        """Whether a file is finished there."""
        return self._targets[target].files[path].is_finished

    def is_whole(self, target: str) -> bool:
        """Whether all files are finished there."""
        seen = self._targets[target]
        return seen.sums["files_finished"] == len(seen.files)

    def glance(self) -> dict[str, ProgressSnapshot]:
        """The sums and the files under way, by target: for a reader that polls every second."""
        with self._lock:
            return {name: _glanced(target, self._bytes_total) for name, target in self._targets.items()}

    def snapshot(self) -> dict[str, TargetProgress]:
        """All counters at one moment, by target."""
        with self._lock:
            return {name: _frozen(target) for name, target in self._targets.items()}


def _glanced(target: _TargetCounters, bytes_total: int) -> ProgressSnapshot:
    parts = {f"parts_{word}": count for word, count in target.parts.items()}
    counters = {"bytes_total": bytes_total, "files_total": len(target.files), **target.sums, **parts}
    going = tuple((path, f.bytes_there, f.bytes_total) for path, f in target.going.items())
    return ProgressSnapshot(counters, going)


def _frozen(target: _TargetCounters) -> TargetProgress:
    files = {
        path: FileProgress(f.bytes_total, f.bytes_sent, f.bytes_kept, f.bytes_copied, f.is_finished)
        for path, f in target.files.items()
    }
    parts = target.parts
    return TargetProgress(files, parts["sent"], parts["kept"], parts["copied"], parts["resent"])
