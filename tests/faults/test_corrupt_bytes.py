"""A wrong byte is detected before a version is visible with it or an alias moves, wherever it became wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from syncd.localcloud.faults import FaultRule, Respond
from syncd.plan.phases import ReleasePhase
from syncd.reconcile.views.verification import verify
from syncd.state.content import versions
from syncd.state.state import State
from syncd.targets.base import Depth
from syncd.wiring import world_of

from tests.crash.driver import Driver, driving
from tests.crash.stage import Stage
from tests.crash.world import check_any_time, check_live, check_record
from tests.faults.play import release
from tests.support.directories import quick_directory
from tests.support.fleet import BUCKETS, MODEL, PLACES, WEIGHTS, Fleet


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """Regions on which v1 is live, and v2 delivered."""
    with quick_directory() as base:
        made = Fleet(base / "now", {"step_failures_max": 2})
        made.home.mkdir()
        made.make()
        try:
            for name in ("v1", "v2"):
                made.deliver(name)
            assert release(made, "v1").phase == "live"
            yield made
        finally:
            made.stop()


@pytest.fixture
def driver() -> Iterator[Driver]:
    with driving() as made:
        yield made


@pytest.fixture
def stage(driver: Driver) -> Iterator[Stage]:
    """The same, for processes that are killed."""
    with quick_directory() as base:
        made = Stage(base, driver)
        try:
            made.settle("v1")
            yield made
        finally:
            made.fleet.stop()


def flip_a_bit(path: Path, offset_bytes: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset_bytes] ^= 1
    mode = path.stat().st_mode
    path.chmod(0o644)
    with path.open("r+b") as file:  # in place: whoever else has a link to it sees it too
        file.seek(offset_bytes)
        file.write(data[offset_bytes : offset_bytes + 1])
    path.chmod(mode)


def nothing_moved(fleet: Fleet) -> None:
    check_any_time(fleet, ("v1", "v2"))
    for place in PLACES:
        assert fleet.mounted(place, str(fleet.pointed(place)[0])) == fleet.manifest("v1").directory


@pytest.mark.parametrize("path", [WEIGHTS, "config.json"])
def test_a_source_that_differs_from_its_list_is_never_visible(fleet: Fleet, path: str) -> None:
    flip_a_bit(fleet.home / "registry" / MODEL / "v2" / path, 200)
    ended = release(fleet, "v2")
    assert ended.phase == "stalled"
    assert f"{path}: sha256 of the source is" in ended.reason
    nothing_moved(fleet)
    for place in PLACES:
        assert path not in fleet.visible(place, fleet.manifest("v2"))


def test_a_source_that_changed_after_it_was_pinned_is_quarantined(fleet: Fleet) -> None:
    fleet.whole.cloud.faults.add(FaultRule("oss", Respond(403, "AccessDenied"), "InitiateMultipartUpload", times=0))
    assert release(fleet, "v2").phase == "stalled"
    fleet.whole.cloud.faults.clear()
    source = fleet.home / "registry" / MODEL / "v2"
    was = hashlib.sha256((source / WEIGHTS).read_bytes()).hexdigest()
    flip_a_bit(source / WEIGHTS, 200)
    now = hashlib.sha256((source / WEIGHTS).read_bytes()).hexdigest()
    listed = (source / "SHA256SUMS").read_text()
    (source / "SHA256SUMS").write_text(listed.replace(was, now))
    ended = release(fleet, "v2")
    assert ended.phase == "stalled"
    state = State(fleet.url)
    with state.read() as conn:
        version = versions.find(conn, MODEL, "v2")
    state.close()
    assert version is not None
    assert version.quarantined
    nothing_moved(fleet)


@pytest.mark.parametrize("place", PLACES)
def test_a_bit_that_flips_in_the_store_is_found_by_verify(fleet: Fleet, place: str) -> None:
    assert release(fleet, "v2").phase == "live"
    key = f"{fleet.manifest('v2').directory}/{WEIGHTS}"
    oss = fleet.whole.cloud.oss.get(PLACES[place])
    assert oss is not None
    flip_a_bit(oss.object_file(BUCKETS[place], key) if place in BUCKETS else fleet.nas / key, 12345)
    state = State(fleet.url)
    found = [finding for finding in verify(world_of(fleet.config, state), MODEL, Depth.BYTES) if finding.wrong]
    state.close()
    assert [(finding.subject, finding.what) for finding in found] == [(place, f"{MODEL}@v2")]
    assert f"{WEIGHTS}: sha256 is" in found[0].wrong


@pytest.mark.parametrize("offset_bytes", [5, 102_400 + 5])
def test_a_bit_that_flips_in_what_is_staged_on_nas_is_sent_again(stage: Stage, offset_bytes: int) -> None:
    ended, _ = stage.work("v2", "nas link *.data weights.bin #1|before")
    assert ended.killed
    found = {path: path.stat() for path in (stage.fleet.nas / ".syncd-staging").glob("*.data")}
    # One with a second link is in its place already, and proven: there the same bit stops the release.
    staged = [path for path, stat in found.items() if stat.st_size > offset_bytes and stat.st_nlink == 1]
    assert staged
    flip_a_bit(staged[0], offset_bytes)
    ended, lines = stage.work("v2")
    assert ended.code == 0, stage.child_log()
    check_live(stage.fleet, "v2")
    again = f"nas pwrite@{offset_bytes // 102_400 * 102_400} #"
    assert any(line.startswith(again) for line in lines)


def test_a_bit_that_flips_in_a_part_that_oss_holds_moves_no_alias(stage: Stage) -> None:
    """OSS goes by a checksum it once computed: only who reads the bytes can find it, and the probe does."""
    ended, _ = stage.work("v2", "oss hangzhou complete_multipart_upload weights.bin #1|before")
    assert ended.killed
    store = stage.fleet.whole.cloud.oss[PLACES["hangzhou"]].store
    (upload,) = store.uploads.after(BUCKETS["hangzhou"], ("", ""), "", 10)
    part = store.uploads.parts(upload.upload_id)[1]
    flip_a_bit(store.blobs.path(part.stored.blob), 99)
    ended, _ = stage.work("v2")
    assert ended.code == 0, stage.child_log()
    reason = check_record(stage.fleet, ReleasePhase.STALLED)
    assert "sha256" in reason
    for place in PLACES:
        mounted = stage.fleet.mounted(place, str(stage.fleet.pointed(place)[0]))
        assert mounted == stage.fleet.manifest("v1").directory
