"""Memory that a copy keeps for each small file, counted as it is allocated."""

from __future__ import annotations

import tracemalloc
from threading import Event

from syncd.store.memory import MemoryStore
from syncd.targets.versioned_tree import TreeTarget
from syncd.transfer import Destination, Progress, copy
from tests.support.journals import MemoryJournal
from tests.support.sources import Files, manifest_of
from tests.support.transfers import SETTINGS

FILES = 4000
BYTES_PER_FILE_MAX = 950  # 770 measured, the bytes of the store and the journal in memory among them


def test_a_small_file_leaves_little_behind() -> None:
    files = {f"{n // 100:03}/{n:06}": b"%d" % n for n in range(FILES)}
    manifest, source, store = manifest_of(files), Files(files), MemoryStore()
    progress = Progress(manifest, ["t"])
    tracemalloc.start()
    try:
        target = TreeTarget("t", store)
        before, _ = tracemalloc.get_traced_memory()
        to = Destination(target, MemoryJournal())
        report = copy(manifest, source, [to], SETTINGS, progress=progress, stop=Event())
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert report.targets["t"].files_finished == FILES
    assert (after - before) / FILES < BYTES_PER_FILE_MAX
