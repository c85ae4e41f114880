"""Versions, their files, their placements and the journal."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from syncd.artifact.names import FilePath
from syncd.errors import Conflict, Corrupt, NotFound
from syncd.plan.phases import PlacementPhase
from syncd.state.content import placements, versions
from syncd.state.content.journal import SqlJournal, open_uploads
from syncd.state.db.schema import files
from syncd.state.releases.events import advance
from syncd.state.state import CommittedError, State
from syncd.targets.base import Journal

from tests.unit.state.making import NOON, after_s, all_events, kinds, make_version, manifest

WEIGHTS = FilePath("unet/model.safetensors")


def test_a_version_is_recorded_with_its_digest(state: State) -> None:
    with state.write() as conn:
        version = versions.record(conn, manifest(), "local", "tree:12", NOON)
        assert version.id == f"sdxl@v1#{manifest().digest.short}"
        assert (version.digest, version.size_bytes) == (manifest().digest, 7_000_000_012)
        assert (version.registry, version.pin, version.quarantined) == ("local", "tree:12", "")
        assert versions.find(conn, "sdxl", "v1") == versions.get(conn, version.id) == version


def test_the_manifest_comes_back_byte_for_byte(state: State) -> None:
    with state.write() as conn:
        version = make_version(conn)
        assert versions.manifest(conn, version.id).canonical == manifest().canonical


def test_recording_the_same_manifest_again_changes_nothing(state: State) -> None:
    with state.write() as conn:
        first = make_version(conn)
        assert versions.record(conn, manifest(), "hub", "another-pin", after_s(60)) == first
        assert kinds(conn) == ["version.recorded"]


def test_other_bytes_under_a_published_name_quarantine_it_and_that_is_committed(state: State) -> None:
    with state.write() as conn:
        first = make_version(conn, content="a")
        placement = advance(conn, placements.ensure(conn, first.id, "oss-hz", NOON), PlacementPhase.SEALED, now=NOON)
        advance(conn, placement, PlacementPhase.WANTED, now=NOON)  # missing meanwhile: it was sealed all the same
    for _ in range(2):
        with pytest.raises(CommittedError) as caught, state.write() as conn:
            make_version(conn, content="b")
        assert isinstance(caught.value, Corrupt)
        assert str(first.digest) in caught.value.message
        assert str(manifest(content="b").digest) in caught.value.message
        assert "new version name" in caught.value.hint
    with state.read() as conn:
        assert versions.get(conn, first.id).quarantined == caught.value.message
        assert versions.known(conn, "sdxl") == [versions.get(conn, first.id)]
        assert versions.manifest(conn, first.id) == manifest(content="a")
        assert kinds(conn)[-1] == "version.quarantined"
        assert kinds(conn).count("version.quarantined") == 1


def test_other_bytes_replace_a_version_that_was_never_sealed(state: State) -> None:
    with state.write() as conn:
        first = make_version(conn, content="a")
        advance(conn, placements.ensure(conn, first.id, "oss-hz", NOON), PlacementPhase.COPYING, now=NOON)
        second = make_version(conn, content="b")
        assert versions.find(conn, "sdxl", "v1") == second
        assert versions.known(conn, "sdxl") == [second]
        assert versions.get(conn, first.id) == first
        assert versions.manifest(conn, first.id) == manifest(content="a")
        assert make_version(conn, content="a") == first
        assert versions.find(conn, "sdxl", "v1") == first
        assert [kind for kind in kinds(conn) if kind.startswith("version")] == [
            "version.recorded", "version.replaced", "version.recorded", "version.replaced"]  # fmt: skip


def test_versions_of_a_model_are_listed_in_order(state: State) -> None:
    with state.write() as conn:
        for second, name in enumerate(("v9", "v10", "v1")):
            versions.record(conn, manifest(version=name), "local", "pin", after_s(second))
        make_version(conn, model="flux")
        assert [version.name for version in versions.known(conn, "sdxl")] == ["v9", "v10", "v1"]


def test_a_missing_version_is_not_found(state: State) -> None:
    with state.read() as conn:
        assert versions.find(conn, "sdxl", "v1") is None
        with pytest.raises(NotFound, match="sdxl@v1"):
            versions.get(conn, "sdxl@v1#000000000000")


def test_files_edited_outside_syncd_are_detected(state: State) -> None:
    with state.write() as conn:
        version = make_version(conn)
        conn.execute(sa.update(files).values(size_bytes=1))
        with pytest.raises(Conflict, match=str(version.digest)):
            versions.manifest(conn, version.id)


def test_a_placement_begins_as_wanted_and_is_ensured_once(state: State) -> None:
    with state.write() as conn:
        version = make_version(conn)
        first = placements.ensure(conn, version.id, "oss-hz", NOON)
        assert placements.ensure(conn, version.id, "oss-hz", after_s(9)) == first
        second = placements.ensure(conn, version.id, "nas-sh", NOON)
        assert placements.of_version(conn, version.id) == [second, first]
        assert kinds(conn).count("placement.wanted") == 2


def test_progress_and_reason_of_a_placement_leave_its_phase(state: State) -> None:
    with state.write() as conn:
        version = make_version(conn)
        before = placements.ensure(conn, version.id, "oss-hz", NOON)
        placements.note_progress(conn, version.id, "oss-hz", 2**40, {"parts_sent": 7}, after_s(1))
        placements.note_reason(conn, version.id, "oss-hz", "503", after_s(2))
        after = placements.get(conn, version.id, "oss-hz")
        assert (after.bytes_sent, after.reason, after.updated_at) == (2**40, "503", after_s(2))
        assert after.progress == {"parts_sent": 7}
        assert after.phase is before.phase


def test_a_placement_without_a_request_is_not_found(state: State) -> None:
    with state.write() as conn:
        version = make_version(conn)
        for call in (
            lambda: placements.get(conn, version.id, "oss"),
            lambda: placements.note_progress(conn, version.id, "oss", 1, {}, NOON),
            lambda: placements.note_reason(conn, version.id, "oss", "why", NOON),
        ):
            with pytest.raises(NotFound, match="no placement at oss"):
                call()


@pytest.fixture
def journal(state: State) -> SqlJournal:
    with state.write() as conn:
        return SqlJournal(state, make_version(conn).id, "oss-hz")


def test_an_upload_is_remembered_until_it_is_closed(journal: Journal) -> None:
    assert journal.find(WEIGHTS) is None
    journal.opened(WEIGHTS, "upload-1")
    journal.opened(WEIGHTS, "upload-2")
    assert journal.find(WEIGHTS) == "upload-2"
    assert journal.find(FilePath("config.json")) is None
    journal.closed(WEIGHTS)
    journal.closed(WEIGHTS)
    assert journal.find(WEIGHTS) is None


def test_uploads_of_targets_do_not_meet(state: State, journal: SqlJournal) -> None:
    with state.read() as conn:
        version_id = versions.known(conn, "sdxl")[0].id
    elsewhere = SqlJournal(state, version_id, "oss-sg")
    journal.opened(WEIGHTS, "here")
    elsewhere.opened(WEIGHTS, "there")
    journal.closed(WEIGHTS)
    assert elsewhere.find(WEIGHTS) == "there"
    with state.read() as conn:
        assert [(upload.target, upload.token) for upload in open_uploads(conn)] == [("oss-sg", "there")]
        assert open_uploads(conn, "oss-hz") == []
        assert open_uploads(conn, "oss-sg") == open_uploads(conn)


@pytest.mark.parametrize("crc", [0, 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_every_checksum_comes_back(journal: Journal, crc: int) -> None:
    assert journal.crc64(WEIGHTS) is None
    journal.proven(WEIGHTS, crc)
    assert journal.crc64(WEIGHTS) == crc


def test_a_checksum_is_known_for_the_same_content_in_another_version(state: State, journal: SqlJournal) -> None:
    journal.proven(WEIGHTS, 42)
    journal.settle()
    with state.write() as conn:
        same = make_version(conn, name="v2", content="a")
        other = make_version(conn, name="v3", content="b")
    assert SqlJournal(state, same.id, "nas-sh").crc64(WEIGHTS) == 42
    assert SqlJournal(state, other.id, "nas-sh").crc64(WEIGHTS) is None


def test_a_checksum_of_a_file_the_version_does_not_have_is_refused(journal: Journal) -> None:
    with pytest.raises(NotFound, match=r"vae\.bin"):
        journal.proven(FilePath("vae.bin"), 1)
    assert journal.crc64(FilePath("vae.bin")) is None


def test_recorded_contents_are_returned(state: State) -> None:
    with state.write() as conn:
        version = make_version(conn)
        [event] = all_events(conn)
        assert (event.kind, event.subject, event.at) == ("version.recorded", "sdxl@v1", NOON)
        assert (event.detail["version"], event.detail["files"]) == (version.id, 2)
