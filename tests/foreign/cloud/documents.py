"""JSON documents of Function Compute in SQLite: functions, versions, aliases and what hangs on aliases."""

from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path
from typing import Any, Final

Document = dict[str, Any]


class Documents:
    """Documents by kind and name. A caller that reads and then writes holds `lock`."""

    def __init__(self, file: Path) -> None:
        self.lock: Final = threading.RLock()
        self._database = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._database.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
            "CREATE TABLE IF NOT EXISTS documents (kind TEXT, owner TEXT, name TEXT, body TEXT,"
            " PRIMARY KEY (kind, owner, name))"
        )

    def get(self, kind: str, owner: str, name: str = "") -> Document | None:
        """A document, or None."""
        query = "SELECT body FROM documents WHERE kind = ? AND owner = ? AND name = ?"
        with self.lock:
            row = self._database.execute(query, (kind, owner, name)).fetchone()
        return None if row is None else dict(json.loads(row[0]))

    def put(self, kind: str, owner: str, name: str, body: Document) -> None:
        with self.lock:
            query = "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?)"
            self._database.execute(query, (kind, owner, name, json.dumps(body)))

    def delete(self, kind: str, owner: str, name: str = "") -> bool:
        """Delete a document; False if it was not there."""
        query = "DELETE FROM documents WHERE kind = ? AND owner = ? AND name = ?"
        with self.lock:
            return self._database.execute(query, (kind, owner, name)).rowcount > 0

    def rows(self, kind: str, owner: str | None = None) -> list[Document]:
        """All documents of a kind, of one owner or of all, by name."""
        query = "SELECT body FROM documents WHERE kind = ? AND (? IS NULL OR owner = ?) ORDER BY owner, name"
        with self.lock:
            return [dict(json.loads(row[0])) for row in self._database.execute(query, (kind, owner, owner))]
