"""Layers in the record: digests for every repository, uploads for one repository."""

from __future__ import annotations

from syncd.artifact.digest import Digest
from syncd.state.content.layers import SqlUploadJournal, moved
from syncd.state.state import State

ONE, TWO = Digest("11" * 32), Digest("22" * 32)
HERE, THERE = "cn-shanghai.registry.local/team/sdxl", "cn-hangzhou.registry.local/team/sdxl"


def test_an_upload_is_remembered_until_it_is_closed(state: State) -> None:
    notes = SqlUploadJournal(state, HERE)
    assert notes.find(ONE) is None
    notes.opened(ONE, "https://registry.local/uploads/1?_state=a")
    notes.opened(ONE, "https://registry.local/uploads/1?_state=b")
    assert SqlUploadJournal(state, HERE).find(ONE) == "https://registry.local/uploads/1?_state=b"
    notes.closed(ONE)
    notes.closed(ONE)
    assert notes.find(ONE) is None


def test_an_upload_is_that_of_one_repository_and_one_layer(state: State) -> None:
    SqlUploadJournal(state, HERE).opened(ONE, "here")
    assert SqlUploadJournal(state, THERE).find(ONE) is None
    assert SqlUploadJournal(state, HERE).find(TWO) is None
    SqlUploadJournal(state, THERE).closed(ONE)
    assert SqlUploadJournal(state, HERE).find(ONE) == "here"


def test_a_moved_upload_is_recorded_unless_the_record_has_changed_since(state: State) -> None:
    notes = SqlUploadJournal(state, HERE)
    notes.opened(ONE, "was")
    notes.opened(TWO, "another")
    assert moved(state, "was", "now")
    assert (notes.find(ONE), notes.find(TWO)) == ("now", "another")
    assert not moved(state, "was", "too late")
    notes.closed(ONE)
    assert not moved(state, "now", "too late")
    assert notes.find(ONE) is None


def test_a_digest_is_known_wherever_the_layer_was_made(state: State) -> None:
    notes = SqlUploadJournal(state, HERE)
    assert notes.known(ONE) is None
    notes.proven(ONE, TWO)
    notes.proven(ONE, TWO)
    assert SqlUploadJournal(state, THERE).known(ONE) == TWO


def test_a_new_digest_of_a_layer_replaces_the_old_one(state: State) -> None:
    notes = SqlUploadJournal(state, HERE)
    notes.proven(ONE, ONE)
    notes.proven(ONE, TWO)
    assert notes.known(ONE) == TWO
