"""Secret file: read again when it changes, so that a renewed key needs no restart."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Final

_CHECK_S: Final = 1.0  # between two checks whether the file has changed


class SecretFile:
    """The text of a file with a secret. Checked at most once a second, and read again where it changed."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._text = text
        self._checked_s = time.monotonic()
        self._seen = self._signature()

    def read(self) -> str:
        """What it holds now, or held when it could be read last."""
        now_s = time.monotonic()
        if now_s - self._checked_s >= _CHECK_S:
            self._checked_s = now_s
            seen = self._signature()
            if seen != self._seen:
                with contextlib.suppress(OSError, UnicodeDecodeError):
                    self._text = self._path.read_text(encoding="utf-8").rstrip("\r\n") or self._text
                    self._seen = seen
        return self._text

    def _signature(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError:
            return (0, 0, 0)
        return (found.st_ino, found.st_size, found.st_mtime_ns)
