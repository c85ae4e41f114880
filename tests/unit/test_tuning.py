"""Process tuning: one heap for all threads, and a garbage collector that runs rarely."""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from syncd import tuning

# Run in a process of its own: mallopt cannot be undone.
_PROGRAM = """
import ctypes, threading
from syncd.tuning import share_one_arena
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


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_the_collector_runs_rarely_and_stays_enabled() -> None:
    tuning.collect_rarely()
    assert gc.isenabled()
    assert gc.get_threshold()[0] > 10_000


def test_the_final_collection_is_skipped() -> None:
    tuning.skip_final_collection()
    assert gc.get_freeze_count() > 10_000


def test_threads_allocate_from_one_arena() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    assert "Arena 0:" in done.stderr
    assert "Arena 1:" not in done.stderr


def test_the_c_library_is_not_called_where_it_has_no_arenas(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(ctypes, "CDLL", calls.append)
    monkeypatch.setattr(sys, "platform", "darwin")
    tuning.share_one_arena()
    assert calls == []


def test_no_plugin_of_pydantic_is_searched_for_unless_the_environment_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYDANTIC_DISABLE_PLUGINS", raising=False)
    tuning.load_no_pydantic_plugins()
    assert os.environ["PYDANTIC_DISABLE_PLUGINS"] == "__all__"
    monkeypatch.setenv("PYDANTIC_DISABLE_PLUGINS", "logfire")
    tuning.load_no_pydantic_plugins()
    assert os.environ["PYDANTIC_DISABLE_PLUGINS"] == "logfire"
