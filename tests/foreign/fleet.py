"""Two controllers and a worker in each region, killed at random: `python -m tests.foreign.fleet --disturbances 100`.

Each disturbance is a `kill -9` of any process, a SIGSTOP past the lease, or a crash of PostgreSQL. Meanwhile versions
are released, and after each disturbance the oracle asks every region what it serves.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psycopg

from tests.foreign.client import Failed
from tests.foreign.oracle import Oracle
from tests.foreign.processes import Process, end_on_sigterm, free_port
from tests.foreign.world import REGIONS, SYNCD, Result, World

LEASE_S: Final = 5.0
REST_S: Final = 120.0
TAKEN_S: Final = 60.0
MODELS: Final = ("alpha", "beta")
CONTROLLERS: Final = ("controller-1", "controller-2")
KINDS: Final = {"kill a controller": 4, "kill a worker": 5, "stop a controller": 1, "stop a worker": 1, "crash": 1}


@dataclass
class FleetReport:
    """What was done and found."""

    done: Counter[str] = field(default_factory=Counter)
    releases: int = 0
    wrong: list[str] = field(default_factory=list)
    after_kill_s: list[float] = field(default_factory=list)
    after_stop_s: list[float] = field(default_factory=list)

    def table(self) -> str:
        """The report as lines."""
        rows = [*sorted(self.done.items()), ("releases", self.releases), ("wrong rows", len(self.wrong))]
        lines = [f"{what:28} {number:6}" for what, number in rows]
        for what, found in (("a kill", self.after_kill_s), ("a stop", self.after_stop_s)):
            if found:
                lines.append(
                    f"takeover after {what:13} {len(found):6}, median {statistics.median(found):.2f} s, "
                    f"longest {max(found):.2f} s"
                )
        return "\n".join([*lines, *self.wrong]) + "\n"


class Fleet:
    """The processes of a fleet over a world, restarted when they end, as a service manager does."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.urls: Final = {name: f"http://127.0.0.1:{free_port()}" for name in CONTROLLERS}
        self._commands = {
            name: ["run", "--role", "controller", "--name", name, "-c", self._with_api(name)] for name in CONTROLLERS
        }
        self._commands |= {
            f"worker-{name}": ["worker", "--region", name, "--name", f"worker-{name}"] for name in REGIONS
        }
        self._processes: dict[str, Process] = {}
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)

    @property
    def names(self) -> list[str]:
        return list(self._commands)

    def _with_api(self, name: str) -> str:
        """A configuration of its own: on one machine each controller has another port."""
        file = self._world.root / f"{name}.toml"
        listen = self.urls[name].removeprefix("http://")
        file.write_text(f'{self._world.config.read_text()}\n[api]\nlisten = "{listen}"\n')
        return str(file)

    def start(self) -> None:
        for name in self._commands:
            self._start(name)
        self._supervisor.start()

    def close(self) -> None:
        self._over.set()
        self._supervisor.join()
        for process in self._processes.values():
            process.signal(signal.SIGCONT)
            process.signal(signal.SIGTERM)
        for process in self._processes.values():
            process.stop(20)

    def kill(self, name: str) -> None:
        """SIGKILL; the supervisor starts it again."""
        with self._lock:
            self._processes[name].kill()

    @contextlib.contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """SIGSTOP, and SIGCONT at the end."""
        process = self._processes[name]
        process.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.signal(signal.SIGCONT)

    def active(self) -> str:
        """The active controller by the record; "" where the record cannot be asked or has none."""
        postgresql = self._world.postgresql
        assert postgresql is not None
        url = postgresql.url.replace("+psycopg", "")
        try:
            with psycopg.connect(url, autocommit=True, connect_timeout=2) as conn:
                row = conn.execute("SELECT name FROM workers WHERE active ORDER BY seen_at DESC LIMIT 1").fetchone()
        except psycopg.Error:
            return ""
        return str(row[0]) if row else ""

    def await_active(self, other_than: str = "") -> float:
        """Wait for an active controller; the seconds that it took."""
        began_s = time.monotonic()
        while (found := self.active()) in {"", other_than}:
            assert time.monotonic() < began_s + TAKEN_S, f"no other controller than {found!r} is active"
            time.sleep(0.05)
        return time.monotonic() - began_s

    def await_standby(self) -> None:
        """Wait for a controller that stands by, and has said so within the last two seconds."""
        postgresql = self._world.postgresql
        assert postgresql is not None
        query = (
            "SELECT 1 FROM workers WHERE role = 'controller' AND NOT active"
            " AND seen_at > extract(epoch FROM now() - interval '2 seconds') * 1000000"
        )
        url, began_s = postgresql.url.replace("+psycopg", ""), time.monotonic()
        while True:
            with contextlib.suppress(psycopg.Error), psycopg.connect(url, connect_timeout=2) as conn:
                if conn.execute(query).fetchone():
                    return
            assert time.monotonic() < began_s + TAKEN_S, "no controller stands by"
            time.sleep(0.1)

    def _start(self, name: str) -> None:
        log = self._world.root / f"{name}.log"
        self._processes[name] = Process([str(SYNCD), *self._commands[name]], log, self._world.environment())

    def _supervise(self) -> None:
        while not self._over.wait(0.3):
            with self._lock:
                for name, process in self._processes.items():
                    if not process.alive and not self._over.is_set():
                        process.kill()
                        self._start(name)


class Play:
    """Disturbances at random, releases meanwhile, and the oracle after each."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._chance = random.Random(seed)
        self._oracle = Oracle(world)
        self._numbers: Counter[str] = Counter()
        self._wanted: dict[str, str] = {}
        self.fleet: Final = Fleet(world)
        self.report: Final = FleetReport()
        self._token = world.root / "token"

    def run(self, disturbances: int, kinds: list[str] | None = None) -> FleetReport:
        """`kinds` in this order, or as many as `disturbances` at random."""
        created = self._world.syncd("token", "create", "play", "--role", "publish")
        self._token.write_text(created.document["token"])
        self.fleet.start()
        try:
            self.fleet.await_active()
            self._rest()
            drawn = kinds or self._chance.choices(list(KINDS), list(KINDS.values()), k=disturbances)
            for number, kind in enumerate(drawn):
                if number % 2 == 0:
                    self._request()
                time.sleep(self._chance.uniform(0.0, 2.0))
                self._disturb(kind)
                self._ask()
                if number % 10 == 9:
                    self._rest()
            self._rest()
        finally:
            self.fleet.close()
        return self.report

    def _request(self) -> None:
        model = self._chance.choice(MODELS)
        self._numbers[model] += 1
        version = f"v{self._numbers[model]:03}"
        self._world.deliver(model, version, self._chance.uniform(0.1, 0.5))
        for _ in range(10):  # the database may be away
            if self._publish(model, version).code == 0:
                self._wanted[model] = version
                self.report.releases += 1
                return
            time.sleep(0.5)
        self.report.wrong.append(f"{model}@{version} could not be asked for")

    def _publish(self, model: str, version: str) -> Result:
        """Ask for a version by any of the controllers, the stand-by first."""
        active = self.fleet.active()
        urls = ",".join(url for _, url in sorted(self.fleet.urls.items(), key=lambda each: each[0] == active))
        return self._world.syncd("publish", f"{model}@{version}", "--server", urls, "--token-file", str(self._token))

    def _disturb(self, kind: str) -> None:
        self.report.done[kind] += 1
        if kind.endswith("controller"):
            self.fleet.await_standby()
        active = self.fleet.active() or CONTROLLERS[0]
        worker = self._chance.choice([name for name in self.fleet.names if name not in CONTROLLERS])
        if kind == "kill a controller":
            self.fleet.kill(active)
            self.report.after_kill_s.append(self.fleet.await_active(active))
        elif kind == "kill a worker":
            self.fleet.kill(worker)
        elif kind == "stop a controller":
            with self.fleet.stopped(active):
                self.report.after_stop_s.append(self.fleet.await_active(active))
        elif kind == "stop a worker":
            with self.fleet.stopped(worker):
                time.sleep(LEASE_S + 1)
        else:
            assert self._world.postgresql is not None
            self._world.postgresql.crash()
            time.sleep(self._chance.uniform(0.0, 1.0))
            self._world.postgresql.start()
            self.fleet.await_active()

    def _ask(self) -> None:
        allowed = {model: set(versions) for model, versions in self._world.delivered.items()}
        try:
            self.report.wrong += self._oracle.served_anywhere(allowed)
        except (Failed, OSError) as error:
            self.report.wrong.append(f"a region did not answer: {error!r}")

    def _rest(self) -> None:
        """Both models are asked for once more, and everything comes to rest."""
        for model in MODELS:
            if model not in self._wanted:
                self._request_of(model)
        status = self._world.wait_for_rest(REST_S)
        self.report.wrong += self._oracle.at_rest(status, self._wanted)

    def _request_of(self, model: str) -> None:
        self._numbers[model] += 1
        version = f"v{self._numbers[model]:03}"
        self._world.deliver(model, version, 0.2)
        asked = self._publish(model, version)
        assert asked.code == 0, asked
        self._wanted[model] = version
        self.report.releases += 1


def main() -> int:
    end_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--disturbances", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="where the world is left, with its logs")
    options = parser.parse_args()
    root = options.keep or Path(tempfile.mkdtemp(prefix="syncd-fleet-"))
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o755)  # run by root, the database server is another user
    try:
        with World(root / "world", database="postgresql", seed=options.seed) as world:
            report = Play(world, options.seed).run(options.disturbances)
    finally:
        if options.keep is None:
            shutil.rmtree(root, ignore_errors=True)
    sys.stdout.write(report.table())
    sys.stdout.write(json.dumps({"wrong": report.wrong, "done": report.done}) + "\n")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
