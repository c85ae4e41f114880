"""The short form of the scenario: a model's life under faults, and each region asked after each step."""

from __future__ import annotations

from pathlib import Path

from tests.foreign.oracle import ALIAS, Oracle
from tests.foreign.scenario import FAULTS, Faults, Scenario
from tests.foreign.world import BINDINGS, BUCKETS, STRATEGY, World

SHORT = FAULTS["all at once"]
# Nothing that answers again within the retries is a difference, and a bit that flips on the way back is no damage.
FLIPS: Faults = {"flip_sent": 0.2}
NOW = {"alpha": "v2", "beta": "v1"}


def test_a_models_life_on_another_cloud_under_faults(tmp_path: Path) -> None:
    steps: list[str] = []
    with World(tmp_path / "world", policy=STRATEGY) as world:
        scenario = Scenario(world, SHORT, steps.append)
        scenario.play(megabytes=0.3, outage_s=1.0, second_under=FLIPS)
        assert steps[-1] == "verify agrees"
        # Five bindings, of which four serve at first: all were asked after each of six steps, and in the canary.
        assert scenario.oracle.asked >= 6 * 4
        _check_that_the_oracle_sees(world)


def _check_that_the_oracle_sees(world: World) -> None:
    """An oracle that finds nothing anywhere would be worth nothing: what it must find is done to the regions."""
    oracle, binding = Oracle(world), BINDINGS[0]
    status = world.status()
    client = world.regions[binding.region].client
    assert oracle.at_rest(status, NOW) == []
    assert any("asked for was v3" in finding for finding in oracle.at_rest(status, NOW | {"alpha": "v3"}))
    path = f"/functions/{binding.function}/aliases/{ALIAS}"
    was = client.ask("GET", path)
    client.ask("PUT", path, body={"additionalVersionWeight": {"1": 0.2}})
    assert any("a share is left" in finding for finding in oracle.at_rest(status, NOW))
    client.ask("PUT", path, body={"versionId": "1", "additionalVersionWeight": {}})
    assert any("serves alpha@v1, the record says" in finding for finding in oracle.at_rest(status, NOW))
    client.ask("PUT", path, body={"versionId": was["versionId"]})
    assert oracle.at_rest(status, NOW) == []
    tree = world.root / binding.region / "oss" / BUCKETS[binding.region] / "models" / "alpha"
    rotten = next(tree.glob("v2-*/part-1.safetensors"))
    body = bytearray(rotten.read_bytes())
    body[-1] ^= 1
    rotten.write_bytes(body)
    assert any("a request failed" in finding for finding in oracle.served_anywhere({"alpha": {"v2"}, "beta": {"v1"}}))
    assert any("other files than were delivered" in finding for finding in oracle.stored(status))
