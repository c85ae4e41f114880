"""Invariants of the world: at every moment, and at the end of a release."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable

import sqlalchemy as sa
from syncd.artifact.manifest import SEAL_PATH, Manifest
from syncd.artifact.parts import cut
from syncd.plan.phases import FLIP_ENDS, STEP_ENDS, FlipPhase, PlacementPhase, ReleasePhase
from syncd.state.content import placements, versions
from syncd.state.content.journal import open_uploads
from syncd.state.releases import releases, steps
from syncd.state.serving import flips, live
from syncd.state.state import State
from syncd.values.function import AliasState

from tests.crash.effects import AFTER, BEFORE
from tests.support.fleet import BUCKETS, FUNCTION, MODEL, PART_BYTES, PLACES, SIZES, WEIGHTS, Fleet, answered


def check_any_time(fleet: Fleet, names: Iterable[str], share: float = 0.0) -> None:
    """A reader sees whole versions or none, and an alias leads to whole ones: one, or with `share` two."""
    manifests = {name: fleet.manifest(name) for name in names}
    sealed = {(p, m.directory) for p in PLACES for m in manifests.values() if _seen_whole(fleet, p, m)}
    for place in PLACES:
        for alias in ("prod", "prod-candidate"):
            version, weights = fleet.pointed(place, alias)
            is_split = share and alias == "prod" and list(weights.values()) == [share] and version not in weights
            assert not weights or is_split, f"{place}:{alias} points at {version} and sends a share to {weights}"
            for reached in (version, *weights) if version is not None else ():
                mounted = fleet.mounted(place, reached)
                assert (place, mounted) in sealed, f"{place}:{alias} serves {mounted}, which is not sealed"


def check_barrier(fleet: Fleet, old: Manifest, new: Manifest) -> None:
    """Where one alias has moved, the new version is sealed in every region."""
    moved = [place for place in PLACES for v in _reached(fleet, place) if fleet.mounted(place, v) == new.directory]
    if moved and old != new:
        for place in PLACES:
            assert _seen_whole(fleet, place, new), f"{moved} have moved and {place} has not got the bytes"


def check_undone(fleet: Fleet, name: str) -> None:
    """The newest release was taken back: every alias is wholly where `name` is, and so says the record."""
    check_record(fleet, ReleasePhase.UNDONE)
    state = State(fleet.url)
    with state.read() as conn:
        served = {row.binding: row.function_version for row in live.all(conn)}
    state.close()
    for place in PLACES:
        version, weights = fleet.pointed(place)
        assert not weights, f"{place} has a share left behind: {weights}"
        assert version == served[f"serve-{place}"]
        assert fleet.mounted(place, str(version)) == fleet.manifest(name).directory


def _reached(fleet: Fleet, place: str) -> list[str]:
    """The function versions that an alias leads to, wholly or with a share."""
    version, weights = fleet.pointed(place)
    return [reached for reached in (version, *weights) if reached]


def _seen_whole(fleet: Fleet, place: str, manifest: Manifest) -> bool:
    """Whether the version is sealed there. What is visible of it is right, sealed or not."""
    seen = fleet.visible(place, manifest)
    for entry in manifest.entries:
        data = seen.get(entry.path)
        if data is not None:
            assert hashlib.sha256(data).hexdigest() == entry.sha256.hex, f"{place}: {entry.path} has other bytes"
    if SEAL_PATH not in seen:
        return False
    assert seen[SEAL_PATH] == manifest.canonical, f"{place}: the seal is not the manifest"
    lacking = {entry.path for entry in manifest.entries} - seen.keys()
    assert not lacking, f"{place} is sealed and lacks {lacking}"
    return True


def check_live(fleet: Fleet, name: str) -> None:
    """The newest release is live everywhere, the record equals the world, and nothing is left over."""
    manifest = fleet.manifest(name)
    check_record(fleet, ReleasePhase.LIVE)
    state = State(fleet.url)
    with state.read() as conn:
        latest = releases.latest(conn, MODEL)
        assert latest is not None
        assert latest.version_id == versions.identity(manifest)
        placed = {p.target: p.phase for p in placements.of_version(conn, latest.version_id)}
        turned = {f.binding: (f.phase, f.to_version) for f in flips.of_release(conn, latest.id)}
        candidates = _candidates(conn)
        served = {row.binding: row for row in live.all(conn)}
    state.close()
    assert placed == dict.fromkeys(PLACES, PlacementPhase.SEALED)
    for place, runtime in fleet.runtimes().items():
        now = runtime.read(FUNCTION, "prod")
        assert not now.weights
        row = served[f"serve-{place}"]
        assert (row.function_version, dict(row.models)) == (now.function_version, {MODEL: latest.version_id})
        assert turned[f"serve-{place}"] == (FlipPhase.DONE, now.function_version)
        assert runtime.read(FUNCTION, "prod-candidate") == AliasState(candidates[f"serve-{place}"])
        assert fleet.mounted(place, str(now.function_version)) == manifest.directory
        answer = runtime.ask(FUNCTION, "prod", b"{}", 20.0)
        assert answered(answer) == manifest.digest.hex, f"{place} serves {answer!r}"
        once = Counter(fleet.published(place).values())
        assert max(once.values()) == 1, f"{place} has one release published twice: {once}"
    left = fleet.half_done()
    assert not left, f"left over: {left}"


def _candidates(conn: sa.Connection) -> dict[str, str | None]:
    """Where the last probe of a release left each candidate alias: a rollback probes the version itself."""
    found: dict[str, str | None] = {}
    for release in reversed(releases.recent(conn, 100)):
        if not release.rollback:
            moves = flips.of_release(conn, release.id)
            found |= {move.binding: move.to_version for move in moves if _is_probed(move.phase)}
    return found


def _is_probed(phase: FlipPhase) -> bool:
    return phase not in {FlipPhase.CLAIMED, FlipPhase.STAGED, FlipPhase.ABANDONED}


def check_record(fleet: Fleet, phase: ReleasePhase) -> str:
    """The newest release has ended in this phase and nothing in the record is still under way. The reason it gives."""
    state = State(fleet.url)
    try:
        with state.read() as conn:
            latest = releases.latest(conn, MODEL)
            assert latest is not None
            assert latest.phase is phase, f"{latest.phase}: {latest.reason}"
            assert releases.unfinished(conn) == []
            every = [release.id for release in releases.recent(conn, 100)]
            assert all(step.state in STEP_ENDS for one in every for step in steps.of_release(conn, one))
            assert all(flip.phase in FLIP_ENDS for one in every for flip in flips.of_release(conn, one))
            left = open_uploads(conn)
            assert not left or phase is not ReleasePhase.LIVE, f"the journal has {left}"
            assert conn.execute(sa.text("PRAGMA integrity_check")).scalar_one() == "ok"
            return latest.reason
    finally:
        state.close()


def sent_again(fleet: Fleet, first: Iterable[str], second: Iterable[str]) -> tuple[int, int]:
    """Parts of files that were written twice over both lives, and parts on their way when the first one was killed.

    OSS is asked what it has accepted since the case began; of NAS the lives' own logs tell. Files of one part are
    put whole and count as one.
    """
    before, after = ([line.partition("\t")[0] for line in lines] for lines in (first, second))
    begun = Counter(_part(line) for line in before if line.endswith(BEFORE) and _part(line))
    ended = Counter(_part(line) for line in before if not line.endswith(BEFORE) and _part(line))
    on_nas = Counter(_part(line) for line in [*before, *after] if line.endswith(AFTER) and "nas pwrite" in _part(line))
    twice = sum(count - 1 for count in on_nas.values())
    accepted = Counter(
        (call.region, call.resource)
        for operation in ("UploadPart", "PutObject")
        for call in fleet.whole.cloud.counters.calls(operation)
        if 200 <= call.status < 300 and any(call.resource.endswith(f"/{path}") for path in SIZES)
    )
    assert len(accepted) in {0, len(BUCKETS) * len(SIZES)}, f"the cloud counted {accepted}"
    for (_, resource), count in accepted.items():
        twice += count - (len(cut(SIZES[WEIGHTS], PART_BYTES)) if resource.endswith(WEIGHTS) else 1)
    return twice, (begun - ended).total()


def _part(line: str) -> str:
    """The part that a line of the log is about, or ""."""
    name = line.rpartition(" #")[0]
    words = name.split()
    if line.startswith("oss") and words[2:3] == ["upload_part"]:
        return name
    if line.startswith("oss") and words[2:3] == ["put_object"] and any(p.endswith(words[-1]) for p in SIZES):
        return name
    return name if name.startswith("nas pwrite@") and name != "nas pwrite@0" else ""
