"""Scrub: bit rot in each kind of copy is found in one round, repaired and reported; what nothing can repair stays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from syncd.errors import Unavailable
from syncd.localcloud.server import LocalCloud
from syncd.notify.notice import Severity, about
from syncd.reconcile.repair.repairs import resume
from syncd.reconcile.repair.scrub import SILENT_S, Scrub, ScrubPolicy
from syncd.reconcile.views.overview import overview
from syncd.reconcile.views.shapes.plans import ProofDocument
from syncd.reconcile.views.verification import keep, last, verify
from syncd.state.content import proofs
from syncd.store.memory import MemoryStore, MemoryStream
from syncd.store.nas.store import NasSettings, NasStore
from syncd.targets.base import Depth
from syncd.targets.versioned_tree import TreeTarget

from tests.support.clouds import REGION, RawBucket, cloud_at
from tests.support.rooms import SDXL, TRANSFER, Site, World
from tests.support.snapshots import live
from tests.unit.reconcile.test_repair import WEIGHTS, WHOLE, place, with_target

DAY_S = 86400.0
POLICY = ScrubPolicy(7 * DAY_S)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with cloud_at(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


@pytest.fixture
def here(on_sqlite: Site) -> Site:
    """v1 is live, and lies at a third target too."""
    live(on_sqlite, "v1")
    return with_target(on_sqlite, MemoryStore())


class Silent(MemoryStore):
    """A target that does not answer."""

    def open(self, key: str, offset_bytes: int = 0, until_bytes: int | None = None) -> MemoryStream:
        raise Unavailable(f"no answer about {key} from {offset_bytes} to {until_bytes}")


def later(world: World, days: float) -> None:
    world.time += timedelta(days=days)


def a_round(there: Site, policy: ScrubPolicy = POLICY) -> int:
    """Prove until nothing is due. How many copies were read."""
    scrub = Scrub(there.context, policy)
    count = 0
    while scrub():
        count += 1
    return count


def shown(there: Site) -> dict[str, ProofDocument]:
    return {each.target: each for each in last(there.state, there.context.topology, SDXL).proofs}


def kinds(there: Site) -> list[str]:
    told = {"copy.damaged", "repair.requested", "repair.done", "repair.failed"}
    return [each.kind for each in there.events() if each.kind in told]


def test_a_copy_is_proven_when_its_proof_is_too_old_and_not_before(here: Site, world: World) -> None:
    assert a_round(here) == 0, "the seal is the first proof"
    later(world, 8)
    assert a_round(here) == 3
    assert {each.how for each in shown(here).values()} == {"bytes"}
    assert a_round(here) == 0
    later(world, 6)
    assert a_round(here) == 0
    later(world, 2)
    assert a_round(here) == 3


def test_the_oldest_proof_comes_first(here: Site, world: World) -> None:
    later(world, 20)
    with here.state.read() as conn:
        due = proofs.due(conn, world.time)
    with here.state.write() as conn:
        proofs.note(conn, due[0].version_id, "hz", how="bytes", now=world.time - timedelta(days=8))
        proofs.note(conn, due[0].version_id, "sg", how="bytes", now=world.time - timedelta(days=9))
    with here.state.read() as conn:
        assert [each.target for each in proofs.due(conn, world.time - timedelta(days=7))] == ["more", "sg", "hz"]


@pytest.mark.parametrize("kind", ["memory", "nas", "oss", "oss by checksums"])
def test_bit_rot_is_found_in_one_round_and_repaired(
    on_sqlite: Site, world: World, request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    live(on_sqlite, "v1")
    (tmp_path / "nas").mkdir()
    if kind.startswith("oss"):
        here = with_target(on_sqlite, RawBucket(request.getfixturevalue("cloud").endpoint(REGION)).store())
    else:
        here = with_target(on_sqlite, NasStore(NasSettings(tmp_path / "nas")) if kind == "nas" else MemoryStore())
    damaged = place(here)
    damaged.rot(WEIGHTS)
    later(world, 8)
    a_round(here, ScrubPolicy(7 * DAY_S, reads_oss=kind != "oss by checksums"))
    row = shown(here)["more"]
    assert row.fault is not None
    assert WEIGHTS in row.fault
    assert row.proven_at < row.checked_at
    assert [each["damaged"] for each in overview(here.state, here.context.topology)["proofs"]] == [0, 1, 0]
    resume(replace(here.context, transfer=WHOLE))
    assert damaged.objects() == damaged.whole
    assert (shown(here)["more"].fault, shown(here)["more"].how) == (None, "bytes")
    assert kinds(here)[-3:] == ["copy.damaged", "repair.requested", "repair.done"]


def test_a_copy_that_every_place_has_rotten_stays_and_is_told_loudly(here: Site, world: World) -> None:
    for file in (world.root / SDXL / "v1").rglob("*"):
        file.write_bytes(bytes(file.stat().st_size))
    places = [place(here, target) for target in ("hz", "sg", "more")]
    for each in places:
        each.rot(WEIGHTS)
    rotten = [each.objects() for each in places]
    later(world, 8)
    assert a_round(here) == 3
    resume(here.context)
    assert [each.objects() for each in places] == rotten, "nothing was deleted"
    assert kinds(here)[-3:] == ["repair.failed"] * 3
    notices = [
        notice
        for each in here.events()
        if (notice := about(each.kind, event_id=1, at=each.at, subject=each.subject, release="", detail=each.detail))
        and notice.severity is Severity.CRITICAL
    ]
    assert notices[0].text == ("sdxl@v1 has no good copy left at any target: every copy is damaged, nothing is deleted")
    assert len(notices) == 4
    assert all("nothing was removed" in each.text for each in notices[1:])
    assert a_round(here) == 0, "it is not read again and again"
    later(world, 8)
    assert a_round(here) == 3


def test_a_copy_that_does_not_answer_does_not_keep_the_others_waiting(here: Site, world: World) -> None:
    later(world, 8)
    silent = TreeTarget("hz", Silent(), TRANSFER.retry)
    here.context = replace(here.context, targets={**here.context.targets, "hz": silent})
    clock = [0.0]
    scrub = Scrub(here.context, POLICY, lambda: clock[0])
    assert [scrub() for _ in range(4)] == [True, True, True, False]
    found = shown(here)
    assert {name: row.how for name, row in found.items()} == {"hz": "seal", "sg": "bytes", "more": "bytes"}
    assert found["hz"].fault is None, "nothing is known of it"
    clock[0] += SILENT_S + 1
    assert scrub()


def test_reading_keeps_to_the_bandwidth_on_average(here: Site, world: World) -> None:
    later(world, 8)
    clock = [1000.0]
    scrub = Scrub(here.context, ScrubPolicy(7 * DAY_S, bandwidth=10_000), lambda: clock[0])
    assert scrub()
    assert not scrub(), "100 000 bytes were read: that is ten seconds' worth"
    clock[0] += 9.9
    assert not scrub()
    clock[0] += 0.2
    assert scrub()


def test_verify_is_a_proof_too(here: Site, world: World) -> None:
    later(world, 8)
    keep(here.state, {SDXL: list(verify(here.looker, SDXL, Depth.CHECKSUMS))}, is_quick=True)
    assert {each.how for each in shown(here).values()} == {"checksums"}
    assert a_round(here) == 0
