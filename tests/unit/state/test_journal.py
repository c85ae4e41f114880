"""Transfer journal: commits, failed commits, and checksums that others verified meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import FilePath
from syncd.errors import Invalid
from syncd.state.content import versions
from syncd.state.content.journal import SqlJournal
from syncd.state.db.schema import files
from syncd.state.state import State

from tests.unit.state.making import NOON, make_version, manifest

WEIGHTS = FilePath("unet/model.safetensors")
CONFIG = FilePath("config.json")


class Clock:
    """A clock that advances on demand, or with every read."""

    def __init__(self, step_s: float = 0.0) -> None:
        self.now_s, self._step_s = 0.0, step_s

    def __call__(self) -> float:
        self.now_s += self._step_s
        return self.now_s


@pytest.fixture
def version_id(state: State) -> str:
    with state.write() as conn:
        return make_version(conn).id


def saved(state: State) -> dict[str, int]:
    with state.read() as conn:
        rows = conn.execute(sa.select(files.c.path, files.c.crc64).where(files.c.crc64.is_not(None)))
        return {row.path: row.crc64 for row in rows}


def test_every_upload_of_one_target_is_forgotten_at_once(state: State, version_id: str) -> None:
    here, elsewhere = SqlJournal(state, version_id, "oss-hz"), SqlJournal(state, version_id, "oss-sg")
    here.opened(WEIGHTS, "here")
    elsewhere.opened(WEIGHTS, "there")
    here.forget()
    here.forget()
    assert here.find(WEIGHTS) is None
    assert elsewhere.find(WEIGHTS) == "there"


def test_verified_checksums_are_committed_together_and_at_the_latest_by_settle(state: State, version_id: str) -> None:
    clock = Clock()
    journal = SqlJournal(state, version_id, "oss-hz", clock)
    journal.proven(WEIGHTS, 42)
    assert saved(state) == {}
    assert journal.crc64(WEIGHTS) == 42
    clock.now_s = 60.0
    journal.proven(CONFIG, 43)
    assert saved(state) == {WEIGHTS: 42, CONFIG: 43}
    journal.proven(CONFIG, 44)
    assert saved(state) == {WEIGHTS: 42, CONFIG: 43}
    journal.settle()
    journal.settle()
    assert saved(state) == {WEIGHTS: 42, CONFIG: 44}


def test_checksums_of_a_failed_commit_are_kept_for_the_next_one(state: State, version_id: str) -> None:
    journal = SqlJournal(state, version_id, "oss-hz", Clock())
    journal.proven(WEIGHTS, 42)
    with state.write() as conn:
        conn.execute(sa.text("ALTER TABLE files RENAME TO gone"))
    try:
        with pytest.raises(Invalid):
            journal.settle()
    finally:
        with state.write() as conn:
            conn.execute(sa.text("ALTER TABLE gone RENAME TO files"))
    assert saved(state) == {}
    journal.settle()
    assert saved(state) == {WEIGHTS: 42}


def test_a_checksum_that_another_target_proves_meanwhile_is_found(state: State, version_id: str) -> None:
    here, elsewhere = SqlJournal(state, version_id, "oss-hz"), SqlJournal(state, version_id, "oss-sg")
    assert here.crc64(WEIGHTS) is None
    elsewhere.proven(WEIGHTS, 42)
    elsewhere.settle()
    assert here.crc64(WEIGHTS) == 42


def test_threads_that_prove_side_by_side_lose_nothing(state: State) -> None:
    digest = manifest().entries[0].sha256
    many = Manifest.of("sdxl", "v9", (Entry(FilePath(f"{n}.bin"), n, digest) for n in range(60)))
    with state.write() as conn:
        version = versions.record(conn, many, "local", "pin", NOON)
    journal = SqlJournal(state, version.id, "oss-hz", Clock(step_s=0.1))  # every third one commits
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda entry: journal.proven(entry.path, entry.size_bytes), many.entries))
    journal.settle()
    assert saved(state) == {entry.path: entry.size_bytes for entry in many.entries}
