"""The short form of the scenario: a model's life with every fault at once, and each region asked after each step."""

from __future__ import annotations

from pathlib import Path

from tests.foreign.scenario import FAULTS, Scenario
from tests.foreign.world import STRATEGY, World


def test_a_models_life_on_another_cloud_with_every_fault_at_once(tmp_path: Path) -> None:
    steps: list[str] = []
    with World(tmp_path / "world", policy=STRATEGY) as world:
        scenario = Scenario(world, FAULTS["all at once"], steps.append)
        scenario.play(megabytes=0.3, outage_s=1.0, verify_faults={})
        # Five bindings of which four serve: the oracle asked all of them after each of six steps, and in the canary.
        assert scenario.oracle.asked >= 6 * 4
    assert steps[-1] == "verify agrees"
