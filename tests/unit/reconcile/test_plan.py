"""Looking without changing anything: what a release would do, and whether what was done is still so."""

from __future__ import annotations

from dataclasses import replace

import pytest
from syncd.artifact.manifest import Manifest
from syncd.errors import NotFound, Refused, Unavailable
from syncd.reconcile.requests.operations import publish
from syncd.reconcile.views.plans.plan import plan
from syncd.reconcile.views.verification import verify, without_bytes
from syncd.retry import Retry
from syncd.runtime.memory import MemoryRuntime
from syncd.targets.base import Depth, Inspection, Journal
from syncd.targets.versioned_tree import TreeTarget
from syncd.values.function import AliasState

from tests.support.rooms import DRAW, SDXL, Site, World
from tests.support.sources import content

SIZE = 100_008
TWICE = Retry(2, 60, 0.001, 0.002)


def faults(here: Site, depth: Depth = Depth.CHECKSUMS) -> dict[str, str]:
    return {finding.subject: finding.wrong for finding in verify(here.looker, SDXL, depth)}


@pytest.fixture
def served(here: Site, world: World) -> Site:
    """With v1 live."""
    world.deliver(SDXL, "v1")
    publish(here.requester, SDXL, "v1")
    here.settle()
    return here


def test_a_plan_says_what_would_move_and_flip_and_changes_nothing(served: Site, world: World) -> None:
    world.deliver(SDXL, "v2")
    before = len(served.events())
    foreseen = plan(served.looker, "models", SDXL, "v2")
    assert (foreseen.size_bytes, foreseen.files) == (SIZE, 2)
    assert [(t.target, t.region, t.sealed, t.send_bytes, t.kept_bytes, t.send_files) for t in foreseen.targets] == [
        ("hz", "hangzhou", False, SIZE, 0, 2),
        ("sg", "singapore", False, SIZE, 0, 2),
    ]
    assert [(f.binding, f.region, f.alias, f.points_at, f.serves_now) for f in foreseen.flips] == [
        ("draw-hz", "hangzhou", "prod", "1", "v1"),
        ("draw-sg", "singapore", "prod", "1", "v1"),
    ]
    assert len(served.events()) == before
    assert all(len(store.objects) == len(world.stores["hz"].objects) for store in world.stores.values())


def test_what_is_there_already_would_not_move(served: Site, world: World) -> None:
    (manifest,) = world.sealed("sg").values()
    del world.stores["sg"].objects[f"{manifest.directory}/config.json"]
    targets = {target.target: target for target in plan(served.looker, "models", SDXL, "v1").targets}
    assert (targets["hz"].sealed, targets["hz"].send_bytes) == (True, 0)
    assert (targets["sg"].send_files, targets["sg"].kept_bytes) == (1, 100_000)


def test_a_file_that_is_there_under_another_version_would_be_copied_and_is(here: Site, world: World) -> None:
    shared = content("vae", 300_000)
    world.deliver(SDXL, "v1", more={"vae.bin": shared})
    publish(here.requester, SDXL, "v1")
    here.settle()
    world.deliver(SDXL, "v2", more={"vae/renamed.bin": shared})
    planned = plan(here.looker, "models", SDXL, "v2").targets
    assert {(t.send_bytes, t.send_files, t.copied_bytes, t.kept_bytes) for t in planned} == {(SIZE, 2, 300_000, 0)}
    publish(here.requester, SDXL, "v2")
    here.settle()
    for target, placement in here.placements(SDXL, "v2").items():
        assert (placement.progress["bytes_sent"], placement.progress["bytes_copied"]) == (SIZE, 300_000)
        assert len(world.sealed(target)) == 2


def test_parts_of_what_the_record_knows_are_copied_by_the_next_version(here: Site, world: World) -> None:
    first, second = content("first", 200_000), content("second", 200_000)
    world.deliver(SDXL, "v1", more={"vae.bin": first + second})
    publish(here.requester, SDXL, "v1")
    here.settle()
    world.deliver(SDXL, "v2", more={"vae.bin": first + first})
    assert {t.copied_bytes for t in plan(here.looker, "models", SDXL, "v2").targets} == {0}
    publish(here.requester, SDXL, "v2")
    here.settle()
    for placement in here.placements(SDXL, "v2").values():
        assert placement.progress["bytes_copied"] == 400_000


def test_a_first_release_would_make_the_alias(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1")
    assert {(f.points_at, f.serves_now) for f in plan(here.looker, "models", SDXL, "v1").flips} == {(None, "")}


def test_a_version_that_is_not_there_cannot_be_planned(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1")
    with pytest.raises(NotFound):
        plan(here.looker, "models", SDXL, "v2")


def test_everything_as_recorded_is_found_in_order(served: Site) -> None:
    assert faults(served) == {"hz": "", "sg": "", "draw-hz": "", "draw-sg": ""}


def test_nothing_served_yet_is_in_order_too(here: Site) -> None:
    assert faults(here) == {"draw-hz": "", "draw-sg": ""}


def test_a_model_of_which_no_byte_was_read_is_named(here: Site) -> None:
    assert without_bytes({SDXL: list(verify(here.looker, SDXL, Depth.BYTES))}) == [SDXL]


def test_a_model_whose_bytes_were_read_is_not_named(served: Site) -> None:
    assert without_bytes({SDXL: list(verify(served.looker, SDXL, Depth.BYTES))}) == []


@pytest.mark.parametrize("depth", [Depth.CHECKSUMS, Depth.BYTES])
def test_a_flipped_bit_a_lost_file_and_a_lost_seal_are_named(served: Site, world: World, depth: Depth) -> None:
    (manifest,) = world.sealed("hz").values()
    hz, sg = world.stores["hz"].objects, world.stores["sg"].objects
    held = hz[f"{manifest.directory}/weights.bin"]
    held.data = bytes([held.data[0] ^ 1]) + held.data[1:]
    del sg[f"{manifest.directory}/config.json"]
    del sg[f"{manifest.directory}/.syncd/manifest.json"]
    found = faults(served, depth)
    assert found["hz"].startswith("weights.bin: ")
    assert found["sg"] == "not sealed; config.json: missing"


def test_an_alias_that_points_elsewhere_or_shares_its_traffic_is_named(served: Site, world: World) -> None:
    world.runtimes["hangzhou"].functions[DRAW].aliases["prod"] = AliasState("7")
    world.runtimes["singapore"].functions[DRAW].aliases["prod"] = AliasState("1", {"2": 0.1})
    found = faults(served)
    assert "expected function version 1 as recorded, got 7" in found["draw-hz"]
    assert "share" in found["draw-sg"]


def test_what_does_not_answer_is_a_finding_of_its_own_and_not_a_difference(served: Site, world: World) -> None:
    class CutOff(TreeTarget):
        def inspect(self, *_: object) -> None:  # type: ignore[override]
            raise Unavailable("cut off")

    class Locked(MemoryRuntime):
        def read(self, *_: object) -> None:  # type: ignore[override]
            raise Refused("403")

    targets = {"hz": CutOff("hz", world.stores["hz"])}
    for runtime, wrong, unanswered in ((MemoryRuntime(), "does not exist", ""), (Locked(), "", "403")):
        runtimes = {"hangzhou": runtime, "singapore": world.runtimes["singapore"]}
        looker = replace(served.looker, targets=targets, runtimes=runtimes)  # type: ignore[arg-type]
        found = {finding.subject: finding for finding in verify(looker, SDXL, Depth.SEAL, TWICE)}
        assert (found["hz"].wrong, found["hz"].unanswered, found["hz"].is_refused) == ("", "cut off", False)
        assert "configured" in found["sg"].wrong
        assert wrong in found["draw-hz"].wrong
        assert bool(found["draw-hz"].wrong) == bool(wrong)
        assert (found["draw-hz"].unanswered, found["draw-hz"].is_refused) == (unanswered, bool(unanswered))
        assert (found["draw-sg"].wrong, found["draw-sg"].unanswered) == ("", "")


def test_what_is_throttled_once_is_asked_again(served: Site, world: World) -> None:
    throttled = {"target": 1, "runtime": 1}

    def throttle(what: str) -> None:
        if throttled[what]:
            throttled[what] -= 1
            raise Unavailable("503 SlowDown")

    class Throttled(TreeTarget):
        def inspect(self, manifest: Manifest, depth: Depth, journal: Journal) -> Inspection:
            throttle("target")
            return super().inspect(manifest, depth, journal)

    class ThrottledRuntime(MemoryRuntime):
        def read(self, function: str, alias: str) -> AliasState:
            throttle("runtime")
            return world.runtimes["hangzhou"].read(function, alias)

    targets = {**served.looker.targets, "hz": Throttled("hz", world.stores["hz"])}
    runtimes = {**served.looker.runtimes, "hangzhou": ThrottledRuntime()}
    looker = replace(served.looker, targets=targets, runtimes=runtimes)
    assert {(finding.wrong, finding.unanswered) for finding in verify(looker, SDXL, Depth.BYTES, TWICE)} == {("", "")}
    assert throttled == {"target": 0, "runtime": 0}
