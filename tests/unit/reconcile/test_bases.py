"""Bases of images that are looked up on a clock: what is new is told once, and by policy released again, once."""

from __future__ import annotations

import copy
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from syncd.daemon.process import DEFAULT_SLOTS, Process, ProcessSettings
from syncd.engine.memory import MemoryEngine
from syncd.errors import Failed, NotFound, Unavailable
from syncd.plan.binding import BoundModel, MountMode, Place
from syncd.plan.fleet import BasePolicy, BaseWatch, Fleet
from syncd.plan.gate import Gates
from syncd.plan.phases import PlacementPhase, ReleasePhase
from syncd.reconcile import watch
from syncd.reconcile.bases import look, rebuild
from syncd.reconcile.foresee import plan, verify
from syncd.reconcile.overview import overview
from syncd.reconcile.scene import document, scene_of, to_do
from syncd.reconcile.wish import approve, freeze, hold, publish, rollback, unfreeze, unhold
from syncd.runtime.base import AliasState, Change, MountKind
from syncd.state import holds, versions
from syncd.state.records import Release
from syncd.state.state import State
from syncd.target.base import Depth
from syncd.target.tree import TreeTarget

from tests.images import FLEET, ONE, Gallery
from tests.rooms import DRAW, LORA, SDXL, Site, World, site
from tests.unit.oci.kitchen import push_base
from tests.unit.reconcile.test_images import HZ, SG, SHARED, baked, image, live
from tests.unit.reconcile.test_images_killed import Death, Killed, Mortal, MortalState

pytestmark = pytest.mark.needs_docker_registry
R = ReleasePhase
PATIENCE_S = 60.0
REBUILD = BaseWatch(BasePolicy.REBUILD, 3600.0)
REPORT = BaseWatch(BasePolicy.REPORT, 3600.0)
WATCHED = replace(ONE, watched={HZ: REBUILD})


class Out:
    """The connections to a registry that does not answer."""

    def __getattr__(self, name: str) -> Callable[..., object]:
        def fail(*_given: object, **_named: object) -> object:
            raise Unavailable("the base's registry is out")

        return fail


@pytest.fixture
def here(world: World, gallery: Gallery, tmp_path: Path, sqlite_template: Path) -> Iterator[Site]:
    """A process that rebuilds, over a version that is live."""
    shutil.copyfile(sqlite_template, tmp_path / "state.db")
    state = State(f"sqlite:///{tmp_path / 'state.db'}", now=world.now)
    gallery.serve(world)
    made = site(world, state, **gallery.rooms(WATCHED))
    live(made, "v1")
    yield made
    state.close()


def again(here: Site, gallery: Gallery, fleet: Fleet = WATCHED, **changes: object) -> Site:
    """Another process over the same record."""
    return site(here.world, here.state, **(gallery.rooms(fleet) | changes))


def push(gallery: Gallery, number: int) -> str:
    """Have the base's tag mean another image. Gives the digest of its manifest."""
    pushed = push_base(gallery.registry, f"{gallery.name}/base", created=f"2026-12-{number:02}T00:00:00Z")
    return pushed.removeprefix("sha256:")


def seen_and_begun(here: Site, target: str = HZ) -> list[Release]:
    look(here.rooms, target)
    return rebuild(here.rooms)


def rebuilt(here: Site) -> Release:
    """See what is new, and go live with it."""
    (release,) = seen_and_begun(here)
    here.settle(patient=True)
    assert here.release(release.id).phase is R.LIVE, here.release(release.id).reason
    here.assert_record_is_true()
    return release


def told(here: Site, kind: str) -> list[Mapping[str, object]]:
    return [event.detail for event in here.events() if event.kind == kind]


def said(here: Site) -> list[str]:
    """What `syncd status` says of bases."""
    rows = overview(here.state, here.rooms.fleet)["bases"]
    assert isinstance(rows, list)
    return [row["says"] for row in rows]


def shown(here: Site, release: Release) -> dict[str, object]:
    """The one target of a release, as JSON."""
    rows = document(scene_of(here.state, release.id))["targets"]
    assert isinstance(rows, list)
    (row,) = rows
    return dict(row)


def refuse_image(here: Site, gallery: Gallery, base: str) -> None:
    """Have functions answer wrongly out of images over this base."""

    def answer(change: Change) -> bytes:
        repository, _, tag = change.image.partition("@")[0].partition("/")[2].rpartition(":")
        with gallery.registry.client(repository) as http:
            kind = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
            notes = http.get(f"/v2/{repository}/manifests/{tag}", headers=kind).json()["annotations"]
        is_bad = notes["org.opencontainers.image.base.digest"] == f"sha256:{base}"
        return b"[]" if is_bad else gallery.answer(change)

    for runtime in here.world.runtimes.values():
        runtime.answers = answer


def test_a_new_base_is_told_once_and_nothing_is_begun_where_that_is_the_policy(here: Site, gallery: Gallery) -> None:
    here = again(here, gallery, replace(ONE, watched={HZ: REPORT}))
    look(here.rooms, HZ)
    assert (told(here, "base.changed"), said(here)) == ([], [])
    was, now = image(here, "v1").base_digest.hex, push(gallery, 1)
    for _ in range(3):
        assert seen_and_begun(here) == []
    (news,) = told(here, "base.changed")
    assert (news["model"], news["from"], news["to"]) == (SDXL, was, now)
    assert news["base"] == f"{gallery.host}/{gallery.base}"
    (words,) = said(here)
    assert words.startswith(f"base {gallery.host}/{gallery.base} was {was[:12]}, is {now[:12]} (seen 2026-03-01 12:")
    push(gallery, 2)
    look(here.rooms, HZ)
    assert len(told(here, "base.changed")) == 2
    (target,) = plan(here.looker, "models", SDXL, "v1").targets
    assert target.sealed
    assert target.news is not None
    assert target.news.was.hex == was


def test_the_same_version_is_released_over_the_new_base_without_a_byte_of_the_model(
    here: Site, gallery: Gallery
) -> None:
    before, now = image(here, "v1"), push(gallery, 1)
    shutil.rmtree(here.world.root / SDXL / "v1")  # the registry has not kept it
    release = rebuilt(here)
    placed = image(here, "v1")
    assert placed.base_digest.hex == now
    assert placed.tag != before.tag
    assert (release.version_id, release.ref) == (placed.version_id, "v1")
    assert release.requested_by == "syncd, for the new base of img-hz"
    assert [each["bytes"] for each in baked(here, release)] == [0]
    change = here.world.runtimes["hangzhou"].functions[DRAW].versions["2"].change
    assert change.image == placed.reference
    assert here.placements(SDXL, "v1")[HZ].phase is PlacementPhase.SEALED
    assert not [found for found in verify(here.looker, SDXL, Depth.BYTES) if found.wrong]
    assert seen_and_begun(here) == []
    assert said(here) == []


def test_what_is_shown_of_the_release_says_why_from_digest_to_digest(here: Site, gallery: Gallery) -> None:
    was, now = image(here, "v1").base_digest.hex, push(gallery, 1)
    release = rebuilt(here)
    name = f"{gallery.host}/{gallery.base}"
    assert shown(here, release)["base"] == {"name": name, "digest": was, "new_digest": now}
    (event,) = [each for each in here.events(release.id) if each.kind == "release.rebuilds"]
    assert (event.subject, event.detail["from"], event.detail["to"]) == (HZ, was, now)
    first = shown(here, here.all_releases()[-1])
    assert "base" not in first
    assert first["image"] != image(here, "v1").reference, "what the first release has served"


def test_a_rollback_goes_back_to_the_image_over_the_base_before(here: Site, gallery: Gallery) -> None:
    live(here, "v2")
    before = image(here, "v2")
    push(gallery, 1)
    rebuilt(here)
    assert here.world.alias("hangzhou").function_version == "3"
    back = rollback(here.wisher, SDXL, "the server is slow")
    here.settle(patient=True)
    assert (here.release(back.id).phase, here.release(back.id).ref) == (R.LIVE, "v2")
    assert here.world.alias("hangzhou").function_version == "2"
    assert image(here, "v2") == before
    here.assert_record_is_true()
    unhold(here.wisher, SDXL)
    assert seen_and_begun(here) == [], "the base that was gone back from is not built on again"
    assert "is" in said(here)[0]
    further = rollback(here.wisher, SDXL, "still")
    here.settle(patient=True)
    assert (here.release(further.id).phase, here.release(further.id).ref) == (R.LIVE, "v1")
    assert here.world.alias("hangzhou").function_version == "1"


def test_publishing_the_version_again_keeps_the_base_that_it_has(here: Site, gallery: Gallery) -> None:
    push(gallery, 1)
    rebuilt(here)
    placed = image(here, "v1")
    push(gallery, 2)
    assert baked(here, live(here, "v1")) == []
    assert image(here, "v1") == placed


def test_a_base_that_fails_its_probe_is_not_built_on_again_and_what_is_live_stays(here: Site, gallery: Gallery) -> None:
    before, bad = image(here, "v1"), push(gallery, 1)
    refuse_image(here, gallery, bad)
    (release,) = seen_and_begun(here)
    here.settle(patient=True)
    ended = here.release(release.id)
    assert ended.phase is R.STALLED
    assert "push a base that is right" in to_do(scene_of(here.state, ended.id), None, ended.id)
    assert here.world.alias("hangzhou").function_version == "1"
    assert image(here, "v1") == before
    assert seen_and_begun(here) == []
    push(gallery, 2)
    rebuilt(here)
    assert here.world.alias("hangzhou").function_version == "3"


def test_a_base_that_was_undone_is_held_and_after_that_not_built_on_again(
    here: Site, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = again(here, gallery, replace(FLEET, watched={HZ: REBUILD}))
    live(here, "v1")
    push(gallery, 1)
    (release,) = seen_and_begun(here)
    far, moved = here.world.runtimes["singapore"], here.world.runtimes["singapore"].flip

    def flip(function: str, alias: str, to: str | None, expect: str | None) -> AliasState:
        if alias == "prod" and to != "1":
            raise Failed("no alias moves here")
        return moved(function, alias, to, expect)

    monkeypatch.setattr(far, "flip", flip)
    # Else there is nothing to move: its image is what it was.
    far.functions[DRAW].latest = replace(far.functions[DRAW].latest, environment={"OWNER": "another"})
    here.settle(patient=True)
    assert here.release(release.id).phase is R.UNDONE, here.release(release.id)
    with here.state.read() as conn:
        held = holds.find(conn, SDXL)
    assert held is not None
    assert held.who == "syncd"
    unhold(here.wisher, SDXL)
    assert seen_and_begun(here) == []
    assert here.world.alias("hangzhou").function_version == "1"
    monkeypatch.undo()
    assert baked(here, live(here, "v1")) == []
    change = here.world.runtimes["hangzhou"].functions[DRAW].versions
    pointed = here.world.alias("hangzhou").function_version
    assert change[pointed or ""].change.image == image(here, "v1").reference == change["1"].change.image


def test_a_hold_keeps_it_from_beginning_until_it_is_lifted(here: Site, gallery: Gallery) -> None:
    hold(here.wisher, SDXL, "the fair")
    push(gallery, 1)
    assert seen_and_begun(here) == []
    unhold(here.wisher, SDXL)
    assert len(rebuild(here.rooms)) == 1


def test_a_hold_that_comes_in_the_middle_ends_it_and_no_alias_has_moved(here: Site, gallery: Gallery) -> None:
    push(gallery, 1)
    (release,) = seen_and_begun(here)
    here.until(R.STAGING, release.id)
    hold(here.wisher, SDXL, "the fair")
    here.settle(patient=True)
    assert here.release(release.id).phase is R.STALLED
    assert here.world.alias("hangzhou").function_version == "1"


def test_a_freeze_keeps_it_at_the_barrier(here: Site, gallery: Gallery) -> None:
    freeze(here.wisher, SDXL, "the fair", None)
    push(gallery, 1)
    (release,) = seen_and_begun(here)
    here.settle()
    assert here.release(release.id).reason == "waits: frozen by ops: the fair"
    assert here.world.alias("hangzhou").function_version == "1"
    unfreeze(here.wisher, SDXL)
    here.settle()
    assert here.release(release.id).phase is R.LIVE


def test_it_waits_for_an_approval_where_others_do(here: Site, gallery: Gallery) -> None:
    here = again(here, gallery, gates=Gates(approval=(SDXL,)))
    push(gallery, 1)
    (release,) = seen_and_begun(here)
    here.settle()
    assert here.release(release.id).reason == "waits for an approval"
    approve(here.wisher, release.id)
    here.settle()
    assert here.release(release.id).phase is R.LIVE


def test_a_quarantined_version_is_left_alone(here: Site, gallery: Gallery) -> None:
    (here.world.root / SDXL / "v1" / "SHA256SUMS").unlink()
    here.world.deliver(SDXL, "v1", "other bytes", SHARED)
    watch.look(here.rooms, "models", auto_release=True)
    with here.state.read() as conn:
        found = versions.find(conn, SDXL, "v1")
    assert found is not None
    assert found.quarantined
    push(gallery, 1)
    assert seen_and_begun(here) == []


def test_a_base_out_of_reach_changes_nothing_and_is_told_until_it_is_back(here: Site, gallery: Gallery) -> None:
    target = gallery.target(HZ)
    target._base._wire.http = Out()  # type: ignore[misc, assignment]
    out = again(here, gallery, images={HZ: target})
    for _ in range(2):
        with pytest.raises(Unavailable, match="is out"):
            look(out.rooms, HZ)
    assert rebuild(out.rooms) == []
    (words,) = said(out)
    assert "cannot be looked up since 2026-03-01 12:" in words
    assert "the base's registry is out" in words
    look(here.rooms, HZ)
    assert said(here) == []


def test_a_base_whose_tag_is_gone_changes_nothing(here: Site, gallery: Gallery) -> None:
    placed, name = image(here, "v1"), gallery.base.partition(":")[0]
    with gallery.registry.client(name) as http:
        assert http.delete(f"/v2/{name}/manifests/sha256:{placed.base_digest}").status_code == 202
    with pytest.raises(NotFound):
        look(here.rooms, HZ)
    assert rebuild(here.rooms) == []
    assert len(said(here)) == 1
    assert baked(here, live(here, "v1")) == [], "what is there needs no base"


def test_a_base_that_goes_while_it_is_built_on_leaves_what_is_live_as_proven_as_it_was(
    here: Site, gallery: Gallery
) -> None:
    before, bad = image(here, "v1"), push(gallery, 1)
    (release,) = seen_and_begun(here)
    name = gallery.base.partition(":")[0]
    with gallery.registry.client(name) as http:
        assert http.delete(f"/v2/{name}/manifests/sha256:{bad}").status_code == 202
    here.settle(patient=True)
    assert here.release(release.id).phase is R.STALLED
    assert here.placements(SDXL, "v1")[HZ].phase is PlacementPhase.SEALED
    assert image(here, "v1") == before
    back = push(gallery, 2)
    rebuilt(here)
    assert image(here, "v1").base_digest.hex == back


def test_a_base_that_changes_twice_is_built_on_one_after_the_other(here: Site, gallery: Gallery) -> None:
    first = push(gallery, 1)
    (release,) = seen_and_begun(here)
    second = push(gallery, 2)
    here.until(R.STAGING, release.id)
    assert seen_and_begun(here) == [], "one is under way"
    here.settle(patient=True)
    assert image(here, "v1").base_digest.hex == first
    rebuilt(here)
    assert image(here, "v1").base_digest.hex == second
    assert [each["to"] for each in told(here, "base.changed")] == [first, second]
    assert here.world.alias("hangzhou").function_version == "3"


def test_a_tag_that_goes_back_is_followed_back_to_the_image_that_is_there(here: Site, gallery: Gallery) -> None:
    before = image(here, "v1")
    push(gallery, 1)
    rebuilt(here)
    push_base(gallery.registry, f"{gallery.name}/base")
    release = rebuilt(here)
    assert image(here, "v1") == before
    assert baked(here, release) == []


def test_it_never_takes_the_place_of_a_version_that_is_under_way(here: Site, gallery: Gallery) -> None:
    here.world.deliver(SDXL, "v2")
    newer = publish(here.wisher, SDXL, "v2")
    here.until(R.PLACING, newer.id)
    now = push(gallery, 1)
    assert seen_and_begun(here) == []
    here.settle(patient=True)
    assert here.release(newer.id).phase is R.LIVE
    assert image(here, "v2").base_digest.hex == now
    assert seen_and_begun(here) == []


def test_one_that_a_newer_version_took_the_place_of_is_begun_again_where_that_fails(
    here: Site, gallery: Gallery
) -> None:
    now = push(gallery, 1)
    (release,) = seen_and_begun(here)
    here.until(R.STAGING, release.id)
    here.world.deliver(SDXL, "v2")
    publish(here.wisher, SDXL, "v2")
    here.world.runtimes["hangzhou"].answers = lambda _change: b"[]"
    here.settle(patient=True)
    assert [each.phase for each in here.all_releases()[:2]] == [R.STALLED, R.SUPERSEDED]
    gallery.serve(here.world)
    rebuilt(here)
    assert image(here, "v1").base_digest.hex == now


def test_a_process_that_died_after_it_saw_is_followed_by_one_that_begins_once(here: Site, gallery: Gallery) -> None:
    push(gallery, 1)
    look(here.rooms, HZ)
    after = again(here, gallery)
    look(after.rooms, HZ)
    begun = rebuild(after.rooms)
    assert rebuild(here.rooms) == []
    assert (len(begun), len(told(after, "base.changed")), len(told(after, "release.rebuilds"))) == (1, 1, 1)


def test_regions_whose_bases_change_together_are_rebuilt_by_one_release(here: Site, gallery: Gallery) -> None:
    here = again(here, gallery, replace(FLEET, watched={HZ: REBUILD, SG: REBUILD}))
    live(here, "v1")
    now = push(gallery, 1)
    (release,) = seen_and_begun(here, SG)
    here.settle(patient=True)
    assert release.requested_by == "syncd, for the new base of img-hz, img-sg"
    assert {image(here, "v1", target).base_digest.hex for target in (HZ, SG)} == {now}
    assert seen_and_begun(here) == []


def test_a_region_whose_base_cannot_be_looked_up_keeps_its_image(here: Site, gallery: Gallery) -> None:
    both = replace(FLEET, watched={HZ: REBUILD, SG: REBUILD})
    here = again(here, gallery, both)
    live(here, "v1")
    before, now = image(here, "v1", SG), push(gallery, 1)
    far = gallery.target(SG)
    far._base._wire.http = Out()  # type: ignore[misc, assignment]
    half = again(here, gallery, both, images={HZ: gallery.target(HZ), SG: far})
    (release,) = seen_and_begun(half)
    half.settle(patient=True)
    assert half.release(release.id).phase is R.LIVE
    assert (image(half, "v1").base_digest.hex, image(half, "v1", SG)) == (now, before)
    (later,) = seen_and_begun(here, SG)
    here.settle(patient=True)
    assert here.release(later.id).phase is R.LIVE
    assert image(here, "v1", SG).base_digest.hex == now


def beside(here: Site, gallery: Gallery) -> Site:
    """As `here`, where the function has another model mounted beside the one in its image."""
    binding = WATCHED.bindings["draw-hz"]
    mounted = BoundModel(LORA, "hz", MountMode.ROOT, "/mnt/models", versions_variable="MODELS")
    fleet = replace(
        WATCHED,
        bindings={"draw-hz": replace(binding, models=(*binding.models, mounted))},
        places={"hz": Place(MountKind.OSS, "bucket-hz", "")},
        regions={**WATCHED.regions, "hz": "hangzhou"},
    )
    world = here.world

    def answer(change: Change) -> bytes:
        named = json.loads(change.environment.get("MODELS", "{}"))
        mine = [each["digest"] for each in named.values() if each["digest"] in world.sealed("hz")]
        return json.dumps(sorted(json.loads(gallery.answer(change)) + mine)).encode()

    world.runtimes["hangzhou"].answers = answer
    return again(here, gallery, fleet, targets={"hz": TreeTarget("hz", world.stores["hz"])})


def test_a_release_of_another_model_keeps_the_image_that_serves(here: Site, gallery: Gallery) -> None:
    here = beside(here, gallery)
    before = image(here, "v1")
    here.world.deliver(LORA, "l1")
    other = publish(here.wisher, LORA, "l1")
    here.until(R.STAGING, other.id)  # it has the alias, and has staged nothing
    push(gallery, 1)
    (release,) = seen_and_begun(here)
    here.until(R.STAGING, release.id)  # the new image is there, no function has it
    here.until(R.LIVE, other.id)
    versions_of = here.world.runtimes["hangzhou"].functions[DRAW].versions
    pointed = here.world.alias("hangzhou").function_version
    assert versions_of[pointed or ""].change.image == before.reference
    here.settle(patient=True)
    assert here.release(release.id).phase is R.LIVE
    pointed = here.world.alias("hangzhou").function_version
    assert versions_of[pointed or ""].change.image == image(here, "v1").reference != before.reference
    here.assert_record_is_true()
    here.world.deliver(LORA, "l2")
    publish(here.wisher, LORA, "l2")
    here.settle(patient=True)
    pointed = here.world.alias("hangzhou").function_version
    assert versions_of[pointed or ""].change.image == image(here, "v1").reference


def test_a_daemon_looks_on_its_clock_and_begins_what_is_due(here: Site, gallery: Gallery) -> None:
    now, deadline = push(gallery, 1), time.monotonic() + PATIENCE_S
    rooms = replace(
        here.rooms, engine=MemoryEngine(), fleet=replace(WATCHED, watched={HZ: replace(REBUILD, every_s=0.1)})
    )
    settings = ProcessSettings(0.02, 10.0, auto_release=False, polls=(), slots=DEFAULT_SLOTS, watches_bases=True)

    def done() -> bool:
        assert time.monotonic() < deadline
        return here.all_releases()[0].phase is R.LIVE and len(here.all_releases()) > 1

    Process(rooms, settings, sole=True).run(done)
    assert image(here, "v1").base_digest.hex == now


def test_a_process_that_dies_at_any_commit_is_followed_by_one_that_ends_the_same(
    here: Site, gallery: Gallery, tmp_path: Path
) -> None:
    """From the look on until all is live. What it pushes dies in `test_images_killed`."""
    here.state.close()
    runtime, saved = here.world.runtimes["hangzhou"], tmp_path / "saved.db"
    shutil.copyfile(tmp_path / "state.db", saved)
    functions, now = copy.deepcopy(runtime.functions), push(gallery, 1)

    def life(death: Death) -> list[str]:
        state = MortalState(f"sqlite:///{tmp_path / 'state.db'}", now=here.world.now)
        state.death = death
        dying = {"hangzhou": Mortal(runtime, death)}
        process = site(here.world, state, **gallery.rooms(WATCHED), runtimes=dying)
        with suppress(Killed):
            seen_and_begun(process)
            process.settle(patient=True)
        state.close()
        return death.moments

    def ended(told: str) -> None:
        state = State(f"sqlite:///{tmp_path / 'state.db'}", now=here.world.now)
        after = site(here.world, state, **gallery.rooms(WATCHED))
        kinds = Counter(event.kind for event in after.events())
        assert [each.phase for each in after.all_releases()] == [R.LIVE, R.LIVE], told
        assert (kinds["base.changed"], kinds["release.rebuilds"], kinds["release.live"]) == (1, 1, 2), (told, kinds)
        assert image(after, "v1").base_digest.hex == now, told
        assert runtime.read(DRAW, "prod").function_version == "2", told
        after.assert_record_is_true()
        state.close()

    def again_from_the_start() -> None:
        shutil.copyfile(saved, tmp_path / "state.db")
        runtime.functions.clear()
        runtime.functions.update(copy.deepcopy(functions))

    for told in ("it pushes", "it finds the image there"):
        again_from_the_start()
        moments = life(Death())
        ended(told)
    # After each effect, that is before the next: of seeing and beginning, of placing, and on the function.
    for at in [at for at in range(1, len(moments), 2) if at < 16 or "runtime" in moments[at]]:
        again_from_the_start()
        assert len(life(Death(at))) == at + 1
        life(Death())
        ended(f"killed at {at}, {moments[at]}")
