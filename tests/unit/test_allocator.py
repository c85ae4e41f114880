"""One heap for all threads: seen in a process of its own, since it cannot be taken back."""

from __future__ import annotations

import subprocess
import sys

import pytest
from syncd.allocator import share_one_arena

_PROGRAM = """
import ctypes, threading
from syncd.allocator import share_one_arena
share_one_arena()
held = []
def fill():
    held.append([bytes(5000) for _ in range(100)])
threads = [threading.Thread(target=fill) for _ in range(20)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.malloc_stats()
"""


def test_threads_allocate_from_one_arena() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    assert "Arena 0:" in done.stderr
    assert "Arena 1:" not in done.stderr


def test_where_there_are_no_arenas_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    share_one_arena()
