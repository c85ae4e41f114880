"""Proof in memory: a function that answers wrongly or not at all moves no alias; a proven rollback is not held up."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from syncd.plan.binding import ProofGrade
from syncd.plan.phases import FlipPhase, ReleasePhase
from syncd.reconcile.requests.operations import publish
from syncd.reconcile.requests.rollbacks import rollback
from syncd.serving import Challenge, ServedModels, parse_challenge
from syncd.values.function import Change

from tests.support.rooms import BINDINGS, DRAW, FLEET, SDXL, TARGETS, Site, World, site
from tests.support.sealed_models import safetensors

WEIGHTS = {"v1": b"one" * 3_000_000, "v2": b"two" * 3_000_000}


@pytest.fixture
def asking(here: Site, world: World, request: pytest.FixtureRequest) -> Site:
    """A fleet whose bindings ask for proofs of the grade in the test's parameter."""
    grade = ProofGrade(getattr(request, "param", "sample"))
    bindings = {binding.name: replace(binding, proof=grade) for binding in BINDINGS}
    return site(world, here.state, topology=replace(FLEET, bindings=bindings))


def _functions(
    world: World, there: Site, root: Path, damage: Callable[[bytearray], None] | None = None
) -> list[Challenge]:
    """Every function loads what is mounted with `syncd.serving`, and `damage` is done to its memory."""
    asked: list[Challenge] = []
    for target, region in TARGETS.items():

        def answer(change: Change, body: bytes, target: str = target) -> bytes:
            directory = root / target / change.environment["SDXL_DIGEST"][:12]
            _mounted(there, target, change, directory)
            models = ServedModels({"MODELS": "sdxl=P", "P": str(directory)})
            if damage is not None:
                memory = models["sdxl"].tensors()["w"].data
                changed = bytearray(memory)
                damage(changed)
                memory[:] = changed
            found = parse_challenge(body)
            assert found is not None
            asked.append(found)
            return json.dumps(models.answer(body)).encode()

        world.runtimes[region].proofs = answer
    return asked


def _mounted(there: Site, target: str, change: Change, directory: Path) -> None:
    """What a function in the region of a target sees: the objects of its version, as files."""
    (mount,) = (each for each in change.mounts if each.mount_dir == "/mnt/sdxl")
    prefix = mount.path.strip("/")
    store = there.world.stores[target]
    for stat in store.list(f"{prefix[prefix.index('models/') :]}/"):
        if not stat.key.endswith("/"):
            at = directory / stat.key[stat.key.index("-") :].partition("/")[2]
            at.parent.mkdir(parents=True, exist_ok=True)
            with store.open(stat.key) as stream:
                data = bytearray(stat.size_bytes)
                done = 0
                while done < len(data):
                    done += stream.readinto(memoryview(data)[done:])
            at.write_bytes(data)


def _deliver(there: Site, version: str) -> None:
    there.world.deliver(SDXL, version, more={"model.safetensors": safetensors({"w": WEIGHTS[version]})})


def _published(there: Site, version: str) -> ReleasePhase:
    _deliver(there, version)
    release = publish(there.requester, SDXL, version)
    there.settle(patient=True)
    return there.release(release.id).phase


def _reasons(there: Site) -> list[str]:
    return [step.reason for release in there.all_releases() for step in there.steps(release.id).values()]


@pytest.mark.parametrize("asking", ["sample", "full"], indirect=True)
def test_a_function_that_has_the_bytes_is_flipped(asking: Site, world: World, tmp_path: Path) -> None:
    asked = _functions(world, asking, tmp_path)

    assert _published(asking, "v1") is ReleasePhase.LIVE

    grade = asking.context.topology.bindings["draw-hz"].proof.value
    assert {each.grade for each in asked} == {grade}
    assert len({each.nonce for each in asked}) == len(asked) == 2
    proven = [event for event in asking.events() if event.kind == "binding.proven"]
    assert [(event.subject, event.detail["grade"]) for event in proven] == [("draw-hz", grade), ("draw-sg", grade)]


def _swap(memory: bytearray) -> None:
    memory[:] = b"two" * (len(memory) // 3)


def _flip_one(memory: bytearray) -> None:
    memory[5_000_000] ^= 1


@pytest.mark.parametrize(("asking", "damage"), [("sample", _swap), ("full", _swap), ("full", _flip_one)],
                         indirect=["asking"])  # fmt: skip
def test_a_wrong_answer_blocks_the_flip(
    asking: Site, world: World, tmp_path: Path, damage: Callable[[bytearray], None]
) -> None:
    """Other weights under the same header, and a single byte: the digest of the seal is right in both."""
    _functions(world, asking, tmp_path, damage)

    assert _published(asking, "v1") is ReleasePhase.STALLED

    assert all(world.runtimes[region].read(DRAW, "prod").function_version is None for region in TARGETS.values())
    assert any("proof in memory" in reason for reason in _reasons(asking))


def test_a_missing_answer_blocks_the_flip(asking: Site) -> None:
    """The functions of this world answer every request with their digests, and know no challenge."""
    assert _published(asking, "v1") is ReleasePhase.STALLED
    assert any("got nothing" in reason for reason in _reasons(asking))


def test_a_rollback_to_a_proven_version_is_blocked_by_a_wrong_answer_only(
    asking: Site, world: World, tmp_path: Path
) -> None:
    _functions(world, asking, tmp_path)
    assert _published(asking, "v1") is ReleasePhase.LIVE
    assert _published(asking, "v2") is ReleasePhase.LIVE
    for runtime in world.runtimes.values():
        runtime.proofs = None  # it cannot answer any more

    release = rollback(asking.requester, SDXL, why="bad")
    asking.settle(patient=True)
    assert asking.release(release.id).phase is ReleasePhase.LIVE
    assert len([event for event in asking.events() if event.kind == "binding.proven"]) == 4


def test_a_rollback_with_a_wrong_answer_moves_nothing(asking: Site, world: World, tmp_path: Path) -> None:
    _functions(world, asking, tmp_path)
    assert _published(asking, "v1") is ReleasePhase.LIVE
    assert _published(asking, "v2") is ReleasePhase.LIVE
    before = {region: world.runtimes[region].read(DRAW, "prod") for region in TARGETS.values()}
    _functions(world, asking, tmp_path, _swap)

    release = rollback(asking.requester, SDXL, why="bad")
    asking.settle(patient=True)

    assert asking.release(release.id).phase is not ReleasePhase.LIVE
    assert {region: world.runtimes[region].read(DRAW, "prod") for region in TARGETS.values()} == before
    assert {flip.phase for flip in asking.flips(release.id).values()}.isdisjoint({FlipPhase.FLIPPED, FlipPhase.DONE})


def test_a_binding_that_asks_for_nothing_sends_no_challenge(here: Site, world: World, tmp_path: Path) -> None:
    asked = _functions(world, here, tmp_path)

    assert _published(here, "v1") is ReleasePhase.LIVE
    assert asked == []
