"""Releases for a new base, beside other releases: started once, stopped like others, resumed after a crash."""

from __future__ import annotations

import copy
import json
import shutil
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from syncd.artifact.names import ModelName
from syncd.daemon.process import Process
from syncd.daemon.settings import DEFAULT_SLOTS, ProcessSettings
from syncd.engine.memory import MemoryEngine
from syncd.errors import Failed
from syncd.plan.binding import BoundModel, ModelLocation, MountMode
from syncd.plan.gate import Gates
from syncd.plan.phases import ReleasePhase
from syncd.reconcile.discovery.base_images import _due as due_before
from syncd.reconcile.discovery.base_images import check, rebuild
from syncd.reconcile.discovery.poll import poll_model
from syncd.reconcile.requests.operations import approve, freeze, hold, publish, unfreeze, unhold
from syncd.reconcile.views.release import load, next_step
from syncd.state.content import versions
from syncd.state.releases import holds
from syncd.state.state import State
from syncd.targets.versioned_tree import TreeTarget
from syncd.trust.policy import Mode, TrustPolicy, TrustRule
from syncd.values.function import AliasState, Change, MountKind

from tests.support.bases import REBUILD, WATCHED, again, events_of_kind, push, rebuilt, seen_and_begun
from tests.support.images import FLEET, HZ, SHARED, Gallery, baked, image, live
from tests.support.rooms import DRAW, LORA, SDXL, Site, site
from tests.unit.reconcile.test_images_killed import Death, Killed, Mortal, MortalState

pytestmark = pytest.mark.needs_docker_registry
R = ReleasePhase
PATIENCE_S = 60.0


def refuse_image(there: Site, gallery: Gallery, base: str) -> None:
    """Have functions answer wrongly out of images over this base."""

    def answer(change: Change) -> bytes:
        repository, _, tag = change.image.partition("@")[0].partition("/")[2].rpartition(":")
        with gallery.registry.client(repository) as http:
            kind = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
            notes = http.get(f"/v2/{repository}/manifests/{tag}", headers=kind).json()["annotations"]
        is_bad = notes["org.opencontainers.image.base.digest"] == f"sha256:{base}"
        return b"[]" if is_bad else gallery.answer(change)

    for runtime in there.world.runtimes.values():
        runtime.answers = answer


def test_a_base_that_fails_its_probe_is_not_built_on_again_and_what_is_live_stays(
    there: Site, gallery: Gallery
) -> None:
    before, bad = image(there, "v1"), push(gallery, 1)
    refuse_image(there, gallery, bad)
    (release,) = seen_and_begun(there)
    there.settle(patient=True)
    ended = there.release(release.id)
    assert ended.phase is R.STALLED
    assert "push a correct base" in next_step(load(there.state, ended.id), None, ended.id)
    assert there.world.alias("hangzhou").function_version == "1"
    assert image(there, "v1") == before
    assert seen_and_begun(there) == []
    push(gallery, 2)
    rebuilt(there)
    assert there.world.alias("hangzhou").function_version == "3"


def test_a_base_that_was_undone_is_held_and_after_that_not_built_on_again(
    there: Site, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = again(there, gallery, replace(FLEET, watched={HZ: REBUILD}))
    live(there, "v1")
    push(gallery, 1)
    (release,) = seen_and_begun(there)
    far, moved = there.world.runtimes["singapore"], there.world.runtimes["singapore"].flip

    def flip(function: str, alias: str, to: str | None, expect: str | None) -> AliasState:
        if alias == "prod" and to != "1":
            raise Failed("no alias moves there")
        return moved(function, alias, to, expect)

    monkeypatch.setattr(far, "flip", flip)
    # Else there is nothing to move: its image is what it was.
    far.functions[DRAW].latest = replace(far.functions[DRAW].latest, environment={"OWNER": "another"})
    there.settle(patient=True)
    assert there.release(release.id).phase is R.UNDONE, there.release(release.id)
    with there.state.read() as conn:
        held = holds.find(conn, SDXL)
    assert held is not None
    assert held.who == "syncd"
    unhold(there.requester, SDXL)
    assert seen_and_begun(there) == []
    assert there.world.alias("hangzhou").function_version == "1"
    monkeypatch.undo()
    assert baked(there, live(there, "v1")) == []
    change = there.world.runtimes["hangzhou"].functions[DRAW].versions
    pointed = there.world.alias("hangzhou").function_version
    assert change[pointed or ""].change.image == image(there, "v1").reference == change["1"].change.image


def test_a_hold_keeps_it_from_beginning_until_it_is_lifted(there: Site, gallery: Gallery) -> None:
    hold(there.requester, SDXL, "the fair")
    push(gallery, 1)
    assert seen_and_begun(there) == []
    unhold(there.requester, SDXL)
    assert len(rebuild(there.context)) == 1


def test_a_hold_that_comes_in_the_middle_ends_it_and_no_alias_has_moved(there: Site, gallery: Gallery) -> None:
    push(gallery, 1)
    (release,) = seen_and_begun(there)
    there.until(R.STAGING, release.id)
    hold(there.requester, SDXL, "the fair")
    there.settle(patient=True)
    assert there.release(release.id).phase is R.STALLED
    assert there.world.alias("hangzhou").function_version == "1"


def test_a_freeze_keeps_it_at_the_barrier(there: Site, gallery: Gallery) -> None:
    freeze(there.requester, SDXL, "the fair", None)
    push(gallery, 1)
    (release,) = seen_and_begun(there)
    there.settle()
    assert there.release(release.id).reason == "waits: frozen by ops: the fair"
    assert there.world.alias("hangzhou").function_version == "1"
    unfreeze(there.requester, SDXL)
    there.settle()
    assert there.release(release.id).phase is R.LIVE


def test_it_waits_for_an_approval_where_others_do(there: Site, gallery: Gallery) -> None:
    there = again(there, gallery, gates=Gates(approval=(SDXL,)))
    push(gallery, 1)
    (release,) = seen_and_begun(there)
    there.settle()
    assert there.release(release.id).reason == "waits for an approval"
    approve(there.requester, release.id)
    there.settle()
    assert there.release(release.id).phase is R.LIVE


def test_the_trust_policy_does_not_evaluate_it(there: Site, gallery: Gallery) -> None:
    """A stricter policy than when the version was released keeps a patched base from nothing that is live."""
    there = again(there, gallery, trust=TrustPolicy((TrustRule(("*",), Mode.ENFORCE, ("data-only",)),)))
    before, now = image(there, "v1"), push(gallery, 1)
    rebuilt(there)
    assert image(there, "v1").base_digest.hex == now != before.base_digest.hex
    assert not [event for event in there.events() if event.kind.startswith("trust.")]
    anew = publish(there.requester, SDXL, "v1")
    there.settle()
    assert "is refused by policy.trust" in there.release(anew.id).reason, "a release that a person asks for is"


def test_a_quarantined_version_is_left_alone(there: Site, gallery: Gallery) -> None:
    (there.world.root / SDXL / "v1" / "SHA256SUMS").unlink()
    there.world.deliver(SDXL, "v1", "other bytes", SHARED)
    poll_model(there.context, "models", ModelName(SDXL), auto_release=True)
    with there.state.read() as conn:
        found = versions.find(conn, SDXL, "v1")
    assert found is not None
    assert found.quarantined
    push(gallery, 1)
    assert seen_and_begun(there) == []


def test_it_never_takes_the_place_of_a_version_that_is_under_way(there: Site, gallery: Gallery) -> None:
    there.world.deliver(SDXL, "v2")
    newer = publish(there.requester, SDXL, "v2")
    there.until(R.PLACING, newer.id)
    now = push(gallery, 1)
    assert seen_and_begun(there) == []
    there.settle(patient=True)
    assert there.release(newer.id).phase is R.LIVE
    assert image(there, "v2").base_digest.hex == now
    assert seen_and_begun(there) == []


def test_what_was_published_in_the_same_moment_goes_first(
    there: Site, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(gallery, 1)
    check(there.context, HZ)
    with there.state.read() as conn:
        due = due_before(conn, there.context.topology, SDXL)
    assert due
    there.world.deliver(SDXL, "v2")
    publish(there.requester, SDXL, "v2")
    monkeypatch.setattr(
        "syncd.reconcile.discovery.base_images._due", lambda *_: due
    )  # as a database says that shows no other's writes
    assert rebuild(there.context) == []
    assert [release.ref for release in there.unfinished()] == ["v2"]
    assert events_of_kind(there, "release.rebuilds") == []


def test_one_that_a_newer_version_took_the_place_of_is_begun_again_where_that_fails(
    there: Site, gallery: Gallery
) -> None:
    now = push(gallery, 1)
    (release,) = seen_and_begun(there)
    there.until(R.STAGING, release.id)
    there.world.deliver(SDXL, "v2")
    publish(there.requester, SDXL, "v2")
    there.world.runtimes["hangzhou"].answers = lambda _change: b"[]"
    there.settle(patient=True)
    assert [each.phase for each in there.all_releases()[:2]] == [R.STALLED, R.SUPERSEDED]
    gallery.serve(there.world)
    rebuilt(there)
    assert image(there, "v1").base_digest.hex == now


def beside(there: Site, gallery: Gallery) -> Site:
    """As `there`, where the function has another model mounted beside the one in its image."""
    binding = WATCHED.bindings["draw-hz"]
    mounted = BoundModel(LORA, "hz", MountMode.ROOT, "/mnt/models", versions_variable="MODELS")
    topology = replace(
        WATCHED,
        bindings={"draw-hz": replace(binding, models=(*binding.models, mounted))},
        places={"hz": ModelLocation(MountKind.OSS, "bucket-hz", "")},
        regions={**WATCHED.regions, "hz": "hangzhou"},
    )
    world = there.world

    def answer(change: Change) -> bytes:
        named = json.loads(change.environment.get("MODELS", "{}"))
        mine = [each["digest"] for each in named.values() if each["digest"] in world.sealed("hz")]
        return json.dumps(sorted(json.loads(gallery.answer(change)) + mine)).encode()

    world.runtimes["hangzhou"].answers = answer
    return again(there, gallery, topology, targets={"hz": TreeTarget("hz", world.stores["hz"])})


def test_a_release_of_another_model_keeps_the_image_that_serves(there: Site, gallery: Gallery) -> None:
    there = beside(there, gallery)
    before = image(there, "v1")
    there.world.deliver(LORA, "l1")
    other = publish(there.requester, LORA, "l1")
    there.until(R.STAGING, other.id)  # it has the alias, and has staged nothing
    push(gallery, 1)
    (release,) = seen_and_begun(there)
    there.until(R.STAGING, release.id)  # the new image is there, no function has it
    there.until(R.LIVE, other.id)
    versions_of = there.world.runtimes["hangzhou"].functions[DRAW].versions
    pointed = there.world.alias("hangzhou").function_version
    assert versions_of[pointed or ""].change.image == before.reference
    there.settle(patient=True)
    assert there.release(release.id).phase is R.LIVE
    pointed = there.world.alias("hangzhou").function_version
    assert versions_of[pointed or ""].change.image == image(there, "v1").reference != before.reference
    there.assert_record_is_true()
    there.world.deliver(LORA, "l2")
    publish(there.requester, LORA, "l2")
    there.settle(patient=True)
    pointed = there.world.alias("hangzhou").function_version
    assert versions_of[pointed or ""].change.image == image(there, "v1").reference


def test_a_process_that_died_after_it_saw_is_followed_by_one_that_begins_once(there: Site, gallery: Gallery) -> None:
    push(gallery, 1)
    check(there.context, HZ)
    after = again(there, gallery)
    check(after.context, HZ)
    begun = rebuild(after.context)
    assert rebuild(there.context) == []
    assert (len(begun), len(events_of_kind(after, "base.changed")), len(events_of_kind(after, "release.rebuilds"))) == (
        1,
        1,
        1,
    )


def test_a_daemon_looks_on_its_clock_and_begins_what_is_due(there: Site, gallery: Gallery) -> None:
    now, deadline = push(gallery, 1), time.monotonic() + PATIENCE_S
    context = replace(
        there.context, engine=MemoryEngine(), topology=replace(WATCHED, watched={HZ: replace(REBUILD, every_s=0.1)})
    )
    settings = ProcessSettings(0.02, 10.0, auto_release=False, polls=(), slots=DEFAULT_SLOTS, watches_bases=True)

    def done() -> bool:
        assert time.monotonic() < deadline
        return there.all_releases()[0].phase is R.LIVE and image(there, "v1").base_digest.hex == now

    Process(context, settings, sole=True).run(done)
    assert len(there.all_releases()) > 1


def test_a_process_that_dies_at_any_commit_is_followed_by_one_that_ends_the_same(
    there: Site, gallery: Gallery, tmp_path: Path
) -> None:
    """From the look on until all is live. What it pushes dies in `test_images_killed`."""
    there.state.close()
    runtime, saved = there.world.runtimes["hangzhou"], tmp_path / "saved.db"
    shutil.copyfile(tmp_path / "state.db", saved)
    functions, now = copy.deepcopy(runtime.functions), push(gallery, 1)

    def life(death: Death) -> list[str]:
        state = MortalState(f"sqlite:///{tmp_path / 'state.db'}", now=there.world.now)
        state.death = death
        dying = {"hangzhou": Mortal(runtime, death)}
        process = site(there.world, state, **gallery.context(WATCHED), runtimes=dying)
        with suppress(Killed):
            seen_and_begun(process)
            process.settle(patient=True)
        state.close()
        return death.moments

    def ended(way: str) -> None:
        state = State(f"sqlite:///{tmp_path / 'state.db'}", now=there.world.now)
        after = site(there.world, state, **gallery.context(WATCHED))
        kinds = Counter(event.kind for event in after.events())
        assert [each.phase for each in after.all_releases()] == [R.LIVE, R.LIVE], way
        assert (kinds["base.changed"], kinds["release.rebuilds"], kinds["release.live"]) == (1, 1, 2), (way, kinds)
        assert image(after, "v1").base_digest.hex == now, way
        assert runtime.read(DRAW, "prod").function_version == "2", way
        after.assert_record_is_true()
        state.close()

    def again_from_the_start() -> None:
        shutil.copyfile(saved, tmp_path / "state.db")
        runtime.functions.clear()
        runtime.functions.update(copy.deepcopy(functions))

    for way in ("it pushes", "it finds the image there"):
        again_from_the_start()
        moments = life(Death())
        ended(way)
    # After each effect, that is before the next: of seeing and beginning, of placing, and on the function.
    for at in [at for at in range(1, len(moments), 2) if at < 16 or "runtime" in moments[at]]:
        again_from_the_start()
        assert len(life(Death(at))) == at + 1
        life(Death())
        ended(f"killed at {at}, {moments[at]}")
