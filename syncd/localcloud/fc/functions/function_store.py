"""Functions on disk: one JSON file per function, replaced atomically."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from syncd.localcloud.fc.errors import FcError, no_function
from syncd.localcloud.fc.functions.records import FunctionRecord, from_json, to_json

Change = Callable[[FunctionRecord], FunctionRecord]


class FunctionStore:
    """All functions of a region. Thread-safe; changes of one function are serialized.

    Durable: what a method has returned is on disk.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._root.mkdir(parents=True, exist_ok=True)
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._records = {
            record.name: record
            for path in sorted(self._root.glob("*.json"))
            for record in [from_json(json.loads(path.read_text()))]
        }

    def get(self, name: str) -> FunctionRecord:
        """Raises FcError (FunctionNotFound)."""
        with self._guard:
            record = self._records.get(name)
        if record is None:
            raise no_function(name)
        return record

    def all(self) -> list[FunctionRecord]:
        """Every function, by name."""
        with self._guard:
            return sorted(self._records.values(), key=lambda record: record.name)

    def add(self, record: FunctionRecord) -> None:
        """Raises FcError (FunctionAlreadyExists)."""
        with self._locked(record.name):
            if record.name in self._records:
                raise FcError(409, "FunctionAlreadyExists", f"function '{record.name}' already exists")
            self._keep(record)

    def change(self, name: str, change: Change) -> FunctionRecord:
        """Replace the record by the result of `change`; nothing is written when `change` raises."""
        with self._locked(name):
            before = self.get(name)
            after = change(before)
            if after != before:
                self._keep(after)
            return after

    def remove(self, name: str, check: Callable[[FunctionRecord], None]) -> None:
        """Delete the function unless `check` raises. Raises FcError (FunctionNotFound)."""
        with self._locked(name):
            check(self.get(name))
            (self._root / f"{name}.json").unlink()
            _sync_directory(self._root)
            with self._guard:
                del self._records[name]

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            yield

    def _keep(self, record: FunctionRecord) -> None:
        write_json(self._root / f"{record.name}.json", to_json(record))
        with self._guard:
            self._records[record.name] = record


def write_json(path: Path, data: object) -> None:
    """Replace the file atomically and durably: fsync of the file, rename, fsync of the directory."""
    beside = path.with_suffix(".tmp")
    with beside.open("w") as file:
        json.dump(data, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
