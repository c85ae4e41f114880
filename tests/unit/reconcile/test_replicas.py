"""Targets that are filled by replication: syncd sends nothing, waits, proves, and only then calls them sealed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from syncd.artifact.manifest import SEAL_PATH, Manifest
from syncd.localcloud.server import LocalCloud
from syncd.plan.phases import PlacementPhase, ReleasePhase, StepState
from syncd.plan.topology import Replica
from syncd.reconcile.gc.sweep import sweep
from syncd.reconcile.requests.operations import hold, publish
from syncd.reconcile.views.plans.plan import plan
from syncd.state.records import Release, Step
from syncd.state.state import State
from syncd.store.memory import StoredObject
from syncd.targets.versioned_tree import TreeTarget
from syncd.transfer import CopySettings

from tests.support.clouds import RawBucket, cloud_at
from tests.support.rooms import FLEET, SDXL, Site, World, site

DEADLINE_S = 600.0
REPLICATED = replace(FLEET, replicas={"sg": Replica("hz", DEADLINE_S)})
WAITS = "place/replica:sg"


@pytest.fixture
def there(world: World, usual_database_url: str) -> Iterator[Site]:
    """A process whose target in Singapore is filled by replication from Hangzhou."""
    state = State(usual_database_url, now=world.now)
    yield site(world, state, topology=REPLICATED)
    state.close()


@pytest.fixture
def release(there: Site, world: World) -> Release:
    """One whose version is sealed in Hangzhou, and of which nothing has come to Singapore."""
    world.deliver(SDXL, "v1")
    wanted = publish(there.requester, SDXL, "v1")
    there.settle()
    return wanted


def manifest(world: World) -> Manifest:
    (sealed,) = world.sealed("hz").values()
    return sealed


def bring(world: World, *paths: str, flipped: str = "") -> None:
    """What the store does by itself, in whatever order it likes."""
    directory = manifest(world).directory
    for path in paths:
        data = bytearray(world.stores["hz"].objects[f"{directory}/{path}"].data)
        if path == flipped:
            data[-1] ^= 1
        world.stores["sg"].objects[f"{directory}/{path}"] = StoredObject(bytes(data), datetime.now(UTC))


def waiting(there: Site, release: Release) -> Step:
    step = there.steps(release.id)[WAITS]
    assert step.state is StepState.WAITING, step
    return step


def look_again(there: Site, world: World, after_s: float = 1000.0) -> None:
    world.time += timedelta(seconds=after_s)
    there.settle()


def test_nothing_is_sent_to_a_replica_and_its_step_says_what_it_waits_for(
    there: Site, world: World, release: Release
) -> None:
    assert world.stores["sg"].objects == {}
    assert world.stores["sg"].uploads == {}
    step = waiting(there, release)
    assert step.reason == "sg: waiting for 2 of 2 files of sdxl@v1 to be replicated from hz"
    assert step.failures == 0
    assert there.release(release.id).phase is ReleasePhase.PLACING
    placed = there.placements(SDXL, "v1")
    assert (placed["hz"].phase, placed["sg"].phase) == (PlacementPhase.SEALED, PlacementPhase.COPYING)
    assert placed["sg"].progress["files_total"] == 2


def test_what_replication_brought_is_proven_sealed_and_served(there: Site, world: World, release: Release) -> None:
    bring(world, "config.json")
    look_again(there, world, 10)
    assert "1 of 2 files" in waiting(there, release).reason
    assert there.placements(SDXL, "v1")["sg"].progress["files_finished"] == 1
    bring(world, "weights.bin")
    look_again(there, world, 60)
    assert there.release(release.id).phase is ReleasePhase.LIVE
    assert there.placements(SDXL, "v1")["sg"].phase is PlacementPhase.SEALED
    assert set(world.sealed("sg")) == set(world.sealed("hz"))
    there.assert_record_is_true()


def test_a_seal_that_comes_before_the_files_proves_nothing(there: Site, world: World, release: Release) -> None:
    bring(world, SEAL_PATH, "config.json")
    look_again(there, world, 10)
    assert "1 of 2 files" in waiting(there, release).reason
    assert there.placements(SDXL, "v1")["sg"].phase is PlacementPhase.COPYING
    target = plan(there.looker, "models", SDXL, "v1").targets[1]
    assert (target.target, target.sealed, target.replicated_from) == ("sg", False, "hz")
    bring(world, "weights.bin")
    look_again(there, world, 60)
    assert there.release(release.id).phase is ReleasePhase.LIVE


@pytest.mark.parametrize("path", ["config.json", "weights.bin"])
def test_other_bytes_are_never_sealed(there: Site, world: World, release: Release, path: str) -> None:
    bring(world, "config.json", "weights.bin", SEAL_PATH, flipped=path)
    for _ in range(5):
        look_again(there, world, 10)
    assert there.release(release.id).phase is ReleasePhase.STALLED
    assert f"{path}: crc64 is" in there.release(release.id).reason
    assert there.placements(SDXL, "v1")["sg"].phase is PlacementPhase.COPYING


def test_a_file_of_another_size_is_not_waited_for(there: Site, world: World, release: Release) -> None:
    bring(world, "config.json", "weights.bin")
    key = f"{manifest(world).directory}/weights.bin"
    world.stores["sg"].objects[key].data = b"short"
    for _ in range(5):
        look_again(there, world, 10)
    assert there.release(release.id).phase is ReleasePhase.STALLED
    assert "weights.bin: 5 bytes are there" in there.release(release.id).reason


def test_waiting_is_no_failure_and_is_looked_after_ever_less_often(there: Site, world: World, release: Release) -> None:
    pauses = []
    for _ in range(20):  # five times as often as a step may fail
        step = waiting(there, release)
        pauses.append((step.due_at - world.time).total_seconds())
        world.time = step.due_at
        there.settle()
    assert waiting(there, release).failures == 0
    assert pauses == sorted(pauses)
    assert pauses[0] == pytest.approx(1.0, abs=0.1)
    assert pauses[-1] > 3.0
    look_again(there, world, 300)
    assert (waiting(there, release).due_at - world.time).total_seconds() == pytest.approx(8.0, abs=0.1)


def test_past_the_deadline_a_person_is_told_and_another_release_waits_anew(
    there: Site, world: World, release: Release
) -> None:
    bring(world, "config.json")
    for _ in range(5):
        look_again(there, world, DEADLINE_S)
    ended = there.release(release.id)
    assert ended.phase is ReleasePhase.STALLED
    assert "replication from hz has not brought 1 of 2 files of sdxl@v1, such as weights.bin" in ended.reason
    assert "replication rule" in ended.hint
    again = publish(there.requester, SDXL, "v1")
    there.settle()
    assert "1 of 2 files" in waiting(there, again).reason
    bring(world, "weights.bin")
    look_again(there, world, 60)
    assert there.release(again.id).phase is ReleasePhase.LIVE


def test_what_comes_between_the_deadline_and_the_last_try_is_taken(there: Site, world: World, release: Release) -> None:
    look_again(there, world, DEADLINE_S)
    assert waiting(there, release).failures == 1
    bring(world, "config.json", "weights.bin")
    look_again(there, world, 60)
    assert there.release(release.id).phase is ReleasePhase.LIVE


def test_a_replica_that_lost_a_file_is_reported_and_not_waited_for(there: Site, world: World, release: Release) -> None:
    bring(world, "config.json", "weights.bin")
    look_again(there, world, 60)
    del world.stores["sg"].objects[f"{manifest(world).directory}/config.json"]
    again = publish(there.requester, SDXL, "v1")
    there.settle()
    look_again(there, world, 60)
    look_again(there, world, 60)
    assert there.release(again.id).phase is ReleasePhase.STALLED
    assert "config.json: missing" in there.release(again.id).reason


def test_a_source_that_is_not_sealed_any_more_is_waited_for(there: Site, world: World, release: Release) -> None:
    with there.state.write() as conn:
        conn.exec_driver_sql("UPDATE placements SET phase = 'copying' WHERE target = 'hz'")
    bring(world, "config.json", "weights.bin")
    look_again(there, world, 60)
    reasons = [str(event.detail.get("reason")) for event in there.events(release.id)]
    assert "sg is replicated from hz, where sdxl@v1 is copying, not sealed" in reasons
    look_again(there, world, 60)
    assert there.release(release.id).phase is ReleasePhase.LIVE


def test_what_replication_brought_is_never_swept_away(there: Site, world: World, release: Release) -> None:
    bring(world, "config.json")
    hold(there.requester, SDXL, "never mind")
    look_again(there, world, 10)
    assert there.release(release.id).phase is ReleasePhase.STALLED
    world.time += timedelta(days=3)
    assert sweep(there.context) == 0
    assert f"{manifest(world).directory}/config.json" in world.stores["sg"].objects


def test_between_two_buckets_nothing_but_seal_and_markers_is_written(
    world: World, usual_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with cloud_at(tmp_path_factory.mktemp("cloud"), "cn-hangzhou", "cn-shanghai") as cloud:
        source = RawBucket(cloud.endpoint("cn-hangzhou"))
        replica = RawBucket(cloud.endpoint("cn-shanghai"), region="cn-shanghai")
        state = State(usual_database_url, now=world.now)
        targets = {"hz": TreeTarget("hz", source.store()), "sg": TreeTarget("sg", replica.store())}
        there = site(world, state, topology=REPLICATED, targets=targets, transfer=CopySettings())
        world.deliver(SDXL, "v1")
        release = publish(there.requester, SDXL, "v1")
        there.settle()
        assert "2 of 2 files" in waiting(there, release).reason
        assert written(cloud, replica) == set()
        keys = [key for key in source.all_keys() if not key.endswith("/")]
        for key in sorted(keys, reverse=True):  # the files before the seal, whose name begins with a dot
            data = source.read(key)
            assert data is not None
            replica.write(key, data)
            look_again(there, world, 60)
        assert there.placements(SDXL, "v1")["sg"].phase is PlacementPhase.SEALED
        assert replica.all_keys() == source.all_keys()
        assert replica.uploads() == set()
        state.close()


def written(cloud: LocalCloud, bucket: RawBucket) -> set[str]:
    writes = {"PutObject", "UploadPart", "CopyObject", "UploadPartCopy", "InitiateMultipartUpload", "AppendObject"}
    return {call.resource for call in cloud.counters.calls(resource_prefix=bucket.name) if call.operation in writes}
