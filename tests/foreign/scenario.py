"""A model's life in three regions under one set of faults: `python -m tests.foreign.scenario`.

v1; v2 with the daemon killed in mid-copy; a second model; a canary that is rolled back in the middle; the same version
to its end, while regions stop and come back; a rollback; verify. After each step every region is asked.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.foreign.oracle import Oracle
from tests.foreign.processes import end_on_sigterm
from tests.foreign.world import BINDINGS, REGIONS, STRATEGY, Result, World

# The chances are of each request; flips are of requests that carry an object's bytes.
Faults = dict[str, float | str]
FAULTS: Final[dict[str, Faults]] = {
    "none": {},
    "503 and 429": {"unavailable": 0.1},
    "lost answers": {"lost": 0.05},
    "cut bodies": {"cut_request": 0.05, "cut_response": 0.05},
    "flipped bits": {"flip_sent": 0.1, "flip_received": 0.1},
    "a slow line": {"latency_s": 0.2, "bytes_per_s": 2_000_000.0},
    "all at once": {
        "unavailable": 0.03,
        "lost": 0.02,
        "cut_request": 0.01,
        "cut_response": 0.01,
        "flip_sent": 0.02,
        "flip_received": 0.02,
        "latency_s": 0.02,
        "bytes_per_s": 8_000_000.0,
    },
}
# What every step may take: retries within it are syncd's affair.
STEP_S: Final = 180.0


class Wrong(AssertionError):
    """A region, the record or a command is not as it must be."""


class Scenario:
    """One life. `say` is called with each step that was taken."""

    def __init__(self, world: World, faults: Faults, say: Callable[[str], None]) -> None:
        self._world = world
        self._faults = faults
        self._say = say
        self.oracle: Final = Oracle(world)

    def play(
        self,
        *,
        megabytes: float,
        outage_s: float,
        second_under: Faults | None = None,
        verify_under: Faults | None = None,
    ) -> None:
        """Play it whole.

        `second_under` are the faults while the second model is published, `verify_under` while every byte is read
        again; by default the same as always.

        Raises:
            Wrong: Something is not as it must be.
        """
        world = self._world
        for model, version in (("alpha", "v1"), ("alpha", "v2"), ("alpha", "v3"), ("beta", "v1")):
            world.deliver(model, version, megabytes)
        world.await_daemon()
        world.play(**self._faults)
        self._publish("alpha@v1")
        self._check("v1 is live", {"alpha": "v1"})
        self._publish_and_kill("alpha@v2")
        self._check("v2 is live, its daemon was killed", {"alpha": "v2"})
        world.play(**(self._faults if second_under is None else second_under))
        self._publish("beta@v1")
        world.play(**self._faults)
        self._check("the second model is live", {"alpha": "v2", "beta": "v1"})
        self._canary("alpha@v3", before="v2")
        self._check("the canary was rolled back", {"alpha": "v2", "beta": "v1"})
        self._expect(4, "publish", "alpha@v3", "--wait")
        self._expect(0, "unhold", "alpha")
        self._publish_through_outage("alpha@v3", outage_s)
        self._check("v3 is live, a region had stopped", {"alpha": "v3", "beta": "v1"})
        self._expect(0, "rollback", "alpha", "--why", "scenario")
        self._check("v3 was rolled back", {"alpha": "v2", "beta": "v1"})
        world.play(**(self._faults if verify_under is None else verify_under))
        self._verify()
        self._say("verify agrees")

    def _verify(self) -> None:
        """A line that is down makes `verify` end with 7, to be repeated; it never reports right bytes as wrong."""
        result = self._world.syncd("verify", timeout_s=STEP_S)
        for _ in range(20):
            if result.code != 7:
                break
            result = self._world.syncd("verify", timeout_s=STEP_S)
        if result.code != 0 or not result.document["good"]:
            raise Wrong(f"verify: {result}")

    def _expect(self, code: int, *arguments: str) -> Result:
        result = self._world.syncd(*arguments, timeout_s=STEP_S)
        if result.code != code:
            raise Wrong(f"syncd {' '.join(arguments)}: exit code {result.code}, expected {code}: {result}")
        return result

    def _publish(self, version: str) -> None:
        self._expect(0, "publish", version, "--wait", "--timeout", str(int(STEP_S)))

    def _publish_and_kill(self, version: str) -> None:
        """Kill the daemon when the first bytes of the version have come, and start another."""
        self._expect(0, "publish", version)
        model, _, name = version.partition("@")
        client = self._world.regions["cn-hangzhou"].client
        self._until(lambda: any(f"/{model}/{name}-" in key for key in client.keys("models-hz", "models/")), "bytes")
        self._world.kill_daemon()
        self._world.await_daemon()
        self._publish(version)

    def _canary(self, version: str, *, before: str) -> None:
        """Wait until the first wave has a share, ask both what they serve, and go back."""
        self._expect(0, "publish", version)
        first = BINDINGS[0]

        def shared() -> bool:
            alias = self.oracle.alias(first)
            return alias is not None and bool(alias.weights)

        self._until(shared, "a share")
        model, _, name = version.partition("@")
        if wrong := self.oracle.served_anywhere({model: {before, name}, "beta": {"v1"}}):
            raise Wrong(f"in the canary: {wrong}")
        for binding in BINDINGS[1:3]:
            versions, wrong = self.oracle.serves(binding)
            if wrong or versions[model] != before:
                raise Wrong(f"in the canary: {binding.name} serves {versions}, it is not its turn: {wrong}")
        self._say("a share of the requests goes to the canary")
        self._expect(0, "rollback", model, "--why", "scenario")

    def _publish_through_outage(self, version: str, outage_s: float) -> None:
        """One region accepts connections and says nothing for a while, then another breaks each of them."""
        self._expect(0, "publish", version)
        for region, how in (("cn-shanghai", "hang"), ("ap-southeast-1", "reset")):
            self._world.regions[region].play(**(self._faults | {"stopped": how}))
            time.sleep(outage_s)
            self._world.regions[region].play(**self._faults)
        self._publish(version)

    def _until(self, true: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + STEP_S
        while not true():
            if time.monotonic() > deadline:
                raise Wrong(f"not seen within {STEP_S:.0f} s: {what}; {self._world.status()}")
            time.sleep(0.1)

    def _check(self, step: str, expected: dict[str, str]) -> None:
        """Ask every region, at rest.

        Raises:
            Wrong: Something is not as it must be.
        """
        status = self._world.wait_for_rest(STEP_S)
        if wrong := self.oracle.at_rest(status, expected):
            raise Wrong(f"{step}: {wrong}")
        self._say(step)


def main() -> int:
    """Play every set of faults on both databases, or those that are named; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.foreign.scenario", description=__doc__)
    parser.add_argument("--faults", choices=FAULTS, action="append", help="default: each of them")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), action="append", help="default: both")
    parser.add_argument("--megabytes", type=float, default=4.0, help="of each version")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    end_on_sigterm()
    failed = 0
    for database in options.database or ("sqlite", "postgresql"):
        for name in options.faults or FAULTS:
            failed += not _play(database, name, options.megabytes, options.seed)
    return 1 if failed else 0


def _play(database: str, name: str, megabytes: float, seed: int) -> bool:
    root = Path(tempfile.mkdtemp(prefix="syncd-scenario-"))
    # PostgreSQL runs as another user where this is root.
    root.chmod(0o755)
    started = time.monotonic()

    def say(step: str) -> None:
        _write(f"{database}, {name}: {time.monotonic() - started:5.1f} s  {step}")

    try:
        with World(root / "world", database=database, seed=seed, policy=STRATEGY) as world:
            scenario = Scenario(world, FAULTS[name], say)
            try:
                scenario.play(megabytes=megabytes, outage_s=6.0)
            finally:
                played = {region: world.regions[region].play()["played"] for region in REGIONS}
            _write(f"{database}, {name}: right; {scenario.oracle.asked} answers asked; played {played}")
    except Wrong as error:
        _write(f"{database}, {name}: WRONG: {error}\nkept: {root}")
        return False
    shutil.rmtree(root, ignore_errors=True)
    return True


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
