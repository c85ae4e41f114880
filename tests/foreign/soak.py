"""Ten minutes of everything at once: `python -m tests.foreign.soak --seconds 600`.

At random: publishes, rollbacks, holds, cancels, approvals and moves by others; kills, stops past the lease,
database crashes, full and read-only disks, regions that stop, faults of the line and clock steps. Every cause goes away
by itself. Once a minute all of them have, what waits for a person is answered, and the oracle asks every region.

It counts wrong states (of a region, the record, a command), stuck ones (not at rest in time), and releases that needed
a person though their cause had gone away (given up while nobody held, cancelled, rolled back or moved anything).
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from tests.foreign.client import Failed
from tests.foreign.oracle import ALIAS, Oracle
from tests.foreign.processes import end_on_sigterm
from tests.foreign.scenario import FAULTS
from tests.foreign.world import BINDINGS, REGIONS, STRATEGY, Binding, Result, World

POLICY: Final = 'approval = ["beta"]' + STRATEGY
MODELS: Final = ("alpha", "beta")
LEASE_S: Final = 5.0
# A hold, and a release that is taken back, go on after the command that asked for them.
INTERFERES_S: Final = 90.0
ROUND_S: Final = 60.0
REST_S: Final = 150.0
# Exit codes that a command may end with by the documentation: done, not found, held, not live, timeout, unavailable,
# differs, conflict. A bug (1), a usage error (2), a refusal (10) and a command that hangs (-9) are wrong.
CODES: Final = frozenset({0, 3, 4, 5, 6, 7, 8, 9})
ENDED_ILL: Final = frozenset({"stalled", "undone"})


@dataclass
class Report:
    """What the soak found."""

    wrong: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    needed_a_person: list[str] = field(default_factory=list)
    actions: Counter[str] = field(default_factory=Counter)
    unavailable: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not (self.wrong or self.stuck or self.needed_a_person)


@dataclass(frozen=True)
class Touched:
    """A person or another tool interfered with a model at this time: what was under way may end otherwise than live."""

    model: str
    at: float
    shifted: float
    what: str


Action = tuple[float, Callable[["Soak"], None]]


class Soak:
    """One soak in one world."""

    def __init__(self, world: World, seed: int, log: Path, without: frozenset[str] = frozenset()) -> None:
        self._world = world
        self._without = without
        self._chance = random.Random(seed)
        self._oracle = Oracle(world)
        self._log = log.open("a")
        self._started = time.monotonic()
        self._heals: list[tuple[float, str, Callable[[], object]]] = []
        self._touched: list[Touched] = []
        self._moved: set[str] = set()
        self._evaluated: set[str] = set()
        self._numbers: Counter[str] = Counter()
        self._lock = threading.RLock()
        self._delivering = threading.Lock()
        self._over = threading.Event()
        self._suspended = False
        self._shift = 0
        self.report: Final = Report()
        if not world.clock.available:
            self.report.unavailable.append("clock steps: no C compiler")
        if not (world.nas_disk and world.nas_disk.available):
            self.report.unavailable.append("full and read-only disks: mounting is not allowed")

    def run(self, seconds: float) -> Report:
        """Play for so long, then bring all to rest and ask for one more version of each model."""
        self._world.await_daemon()
        supervisor = threading.Thread(target=self._supervise, daemon=True)
        supervisor.start()
        try:
            return self._run(seconds)
        finally:
            self._over.set()
            supervisor.join()
            self._heal(math.inf)

    def _run(self, seconds: float) -> Report:
        for model in MODELS:
            self._deliver(model)
        self._rest("start")
        deadline = self._started + seconds
        next_rest = time.monotonic() + ROUND_S
        while time.monotonic() < deadline:
            self._turn()
            if time.monotonic() > next_rest:
                self._rest("round")
                next_rest = time.monotonic() + ROUND_S
        self._rest("end")
        self._last_versions()
        self._write("report", json.dumps(self.report.__dict__, default=str))
        return self.report

    def _turn(self) -> None:
        """A fault, and at the same time what several people and pipelines ask for; then ask what is served."""
        if len(self._heals) < 3 and self._chance.random() < 0.7:
            with self._lock:
                self._choose(_FAULTS)(self)
        chosen = [self._choose(_REQUESTS) for _ in range(self._chance.randint(1, 3))]
        with ThreadPoolExecutor(len(chosen)) as pool:
            for done in [pool.submit(request, self) for request in chosen]:
                done.result()
        self._ask()

    def _choose(self, actions: dict[str, Action]) -> Callable[[Soak], None]:
        weights = [0.0 if name in self._without else weight for name, (weight, _) in actions.items()]
        name = self._chance.choices(list(actions), weights)[0]
        self.report.actions[name] += 1
        return actions[name][1]

    def _supervise(self) -> None:
        """Heal what is due and restart a dead daemon, as a service manager does, also while a command runs."""
        while not self._over.wait(0.5):
            with self._lock:
                self._heal(time.monotonic())
                daemon = self._world.daemon
                if not self._suspended and (daemon is None or not daemon.alive):
                    self._world.start_daemon()

    def _heal(self, until: float) -> None:
        with self._lock:
            for heal in [heal for heal in self._heals if heal[0] <= until]:
                self._heals.remove(heal)
                self._write("heal", heal[1])
                heal[2]()

    def _ask(self) -> None:
        """Whatever answers now, with whatever is going on, serves bytes that were delivered."""
        allowed = {model: set(versions) for model, versions in self._world.delivered.items()}
        disturbed = bool(self._heals)
        try:
            findings = self._oracle.served_anywhere(allowed)
        except (Failed, OSError) as error:
            findings = [f"a region: a request failed: {error!r}"]
        # An instance that is asked while its region or its disk comes back may fail; it never serves other bytes.
        self._wrong("serving", [text for text in findings if not (disturbed and "a request failed" in text)])

    def _wrong(self, where: str, findings: list[str]) -> None:
        for finding in findings:
            # A person may point an alias at a function version of which the mount was never sealed: that is theirs.
            if where == "serving" and finding.split(":")[0] in self._moved:
                continue
            self.report.wrong.append(f"{self._elapsed()} {where}: {finding}")
            self._write("WRONG", f"{where}: {finding}")

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._started:.1f} s"

    def _write(self, what: str, text: str) -> None:
        self._log.write(f"{self._elapsed():>9} {what:12} {text}\n")
        self._log.flush()

    def _syncd(self, *arguments: str, timeout_s: float = 90.0) -> Result:
        result = self._world.syncd(*arguments, timeout_s=timeout_s)
        detail = "" if result.code == 0 else json.dumps(result.document)[:300] + result.error.strip()[-300:]
        self._write("syncd", f"{' '.join(arguments)}: {result.code} in {result.seconds:.1f} s {detail}")
        if result.code not in CODES or "Traceback (most recent call last)" in result.error:
            self._wrong(f"syncd {' '.join(arguments)}", [f"exit code {result.code}: {result.error[-800:]}"])
        return result

    def _touch(self, what: str, *models: str) -> None:
        self._touched += [Touched(model, time.time(), time.time() + self._shift, what) for model in models]

    # What people and pipelines ask for.

    def _deliver(self, model: str) -> str:
        with self._delivering:
            self._numbers[model] += 1
            version = f"v{self._numbers[model]:03}"
            self._world.deliver(model, version, self._chance.uniform(0.1, 0.6))
        return version

    def _publish_new(self) -> None:
        model = self._chance.choice(MODELS)
        version = self._deliver(model)
        if self._chance.random() < 0.6:
            self._syncd("publish", f"{model}@{version}")

    def _publish_old(self) -> None:
        model = self._chance.choice(MODELS)
        version = self._chance.choice(sorted(self._world.delivered[model]))
        self._syncd("publish", f"{model}@{version}")

    def _rollback(self) -> None:
        model = self._chance.choice(MODELS)
        self._touch("rollback", model)
        self._syncd("rollback", model, "--no-wait", "--why", "soak")

    def _hold(self) -> None:
        model = self._chance.choice(MODELS)
        self._touch("hold", model)
        self._syncd("hold", model, "--why", "soak")

    def _unhold(self) -> None:
        self._syncd("unhold", self._chance.choice(MODELS))

    def _in_flight(self) -> list[dict[str, Any]]:
        result = self._syncd("status")
        return list(result.document["in_flight"]) if result.code == 0 else []

    def _cancel(self) -> None:
        if releases := self._in_flight():
            release = self._chance.choice(releases)
            self._touch("cancel", release["model"])
            self._syncd("cancel", release["release"], "--why", "soak")

    def _approve(self) -> None:
        for release in self._in_flight():
            if release["model"] == "beta":
                self._syncd("approve", release["release"])

    def _move(self) -> None:
        """Another tool moves an alias, or gives a share of it to another version."""
        binding = self._chance.choice(BINDINGS)
        client = self._world.regions[binding.region].client
        path = f"/functions/{binding.function}"
        try:
            found = client.ask("GET", f"{path}/versions", {"limit": "100"})["versions"]
            versions = [row["versionId"] for row in found]
            if len(versions) < 2:
                return
            main, other = self._chance.sample(versions, 2)
            weights = {other: 0.3} if self._chance.random() < 0.3 else {}
            body = {"versionId": main, "additionalVersionWeight": weights}
            client.ask("PUT", f"{path}/aliases/{ALIAS}", body=body)
        except (Failed, OSError) as error:
            self._write("move", f"{binding.name}: {error!r}")
            return
        self._touch(f"move of {binding.name}", *binding.models)
        self._moved.add(binding.name)
        self._write("move", f"{binding.name} to {body}")

    # What goes wrong, and goes away by itself.

    def _for(self, seconds: float, what: str, heal: Callable[[], object]) -> None:
        self._write("fault", f"{what} for {seconds:.1f} s")
        self._heals.append((time.monotonic() + seconds, what, heal))

    def _kill(self) -> None:
        self._write("fault", "daemon: killed")
        if not self._suspended:
            self._world.kill_daemon()

    def _suspend(self) -> None:
        daemon = self._world.daemon
        if daemon is None or not daemon.alive or self._suspended:
            return
        self._suspended = True
        daemon.signal(signal.SIGSTOP)

        def resume() -> None:
            daemon.signal(signal.SIGCONT)
            self._suspended = False

        self._for(LEASE_S * self._chance.uniform(1.5, 2.5), "daemon: stopped", resume)

    def _crash_database(self) -> None:
        database = self._world.postgresql
        if database is None:
            # With SQLite the process that writes is the database.
            self._kill()
        elif not any(what == "database" for _, what, _ in self._heals):
            database.crash()
            self._for(self._chance.uniform(0.5, 5.0), "database", database.start)

    def _disk(self) -> None:
        disks = [disk for disk in (self._world.nas_disk, self._world.record_disk) if disk and disk.available]
        if not disks or any(what.startswith("disk") for _, what, _ in self._heals):
            return
        disk = self._chance.choice(disks)
        seconds = self._chance.uniform(2.0, 8.0)
        if self._chance.random() < 0.5 and disk.set_read_only(read_only=True):
            self._for(seconds, f"disk: {disk.path.name} is read-only", lambda: disk.set_read_only(read_only=False))
        else:
            disk.fill()
            self._for(seconds, f"disk: {disk.path.name} is full", disk.free)

    def _region_out(self) -> None:
        name = self._chance.choice(REGIONS)
        if any(what.endswith(name) for _, what, _ in self._heals):
            return
        region = self._world.regions[name]
        how = self._chance.choice(("hang", "reset", "die"))
        seconds = self._chance.uniform(3.0, 15.0)
        if how == "die":
            region.kill()
            self._for(seconds, f"region killed: {name}", region.restart)
        else:
            region.play(stopped=how)
            self._for(seconds, f"region {how}: {name}", region.play)

    def _line(self) -> None:
        name = self._chance.choice(REGIONS)
        if any(what.endswith(name) for _, what, _ in self._heals):
            return
        kind = self._chance.choice([kind for kind in FAULTS if kind != "none"])
        region = self._world.regions[name]
        region.play(**FAULTS[kind])
        self._for(self._chance.uniform(5.0, 20.0), f"line ({kind}): {name}", region.play)

    def _clock(self) -> None:
        """Not further than both clouds' 15 minutes: beyond them every signature is refused, on any machine."""
        if self._world.clock.available:
            self._shift = self._chance.choice((-600, -120, 0, 120, 600))
            self._world.clock.step(self._shift)
            self._write("fault", f"clock: {self._shift:+d} s")

    # Rest, and what is asked of it.

    def _rest(self, why: str) -> None:
        """Every cause goes away, everything that waits for a person is answered, and all must come to rest."""
        self._write("rest", why)
        self._heal(math.inf)
        self._world.play()
        deadline = time.monotonic() + REST_S
        status: dict[str, Any] = {"in_flight": ["unknown"], "daemon": None}
        while status["in_flight"]:
            if time.monotonic() > deadline:
                self.report.stuck.append(f"{self._elapsed()} {why}: {status['in_flight']}")
                self._write("STUCK", json.dumps(status["in_flight"]))
                for row in status["in_flight"]:
                    self._write("show", json.dumps(self._syncd("show", row["release"]).document)[:20000])
                return
            self._approve()
            self._settle_moves()
            result = self._syncd("status")
            status = dict(result.document) if result.code == 0 else status
            time.sleep(1.0)
        self._evaluate_releases()
        self._wrong("at rest", self._oracle.at_rest(status))
        for model in MODELS:
            self._syncd("unhold", model)

    def _settle_moves(self) -> None:
        """What somebody moved is taken into the record, or put back, or moved to where the release wants it."""
        if not self._moved:
            return
        found = self._syncd("drift", "--look")
        drifted = {row["binding"] for row in (found.document or {}).get("drifted", [])}
        for binding in BINDINGS:
            if binding.name not in self._moved:
                continue
            if found.code in {0, 8} and binding.name not in drifted and self._as_recorded(binding):
                self._moved.discard(binding.name)
                continue
            if self._syncd("adopt", binding.name, "--why", "soak").code == 9:
                self._syncd("restore", binding.name, "--why", "soak")

    def _as_recorded(self, binding: Binding) -> bool:
        result = self._syncd("status")
        if result.code != 0 or result.document["in_flight"]:
            return False
        recorded = {row["function_version"] for row in result.document["live"] if row["binding"] == binding.name}
        alias = self._oracle.alias(binding)
        return alias is not None and recorded == {alias.version} and not any(alias.weights.values())

    def _evaluate_releases(self) -> None:
        """A release that was given up without anybody interfering needs a person, though every cause has gone."""
        result = self._syncd("releases", "-n", "1000")
        if result.code != 0:
            self._wrong("releases", [f"exit code {result.code}"])
            return
        rows = result.document if isinstance(result.document, list) else result.document["releases"]
        for row in rows:
            if row["release"] in self._evaluated or row["phase"] not in ENDED_ILL:
                continue
            self._evaluated.add(row["release"])
            near = self._interfered(row)
            self._write("ended", f"{row['release']} {row['phase']}: {row['reason']} (interfered: {near})")
            if not near:
                text = f"{row['release']} {row['model']}@{row['version']} {row['phase']}: {row['reason']}"
                self.report.needed_a_person.append(text)
                self._write("PERSON", text)

    def _interfered(self, row: dict[str, Any]) -> list[str]:
        """What people did to the model while the release lived, by the true clock or by the one that was stepped."""
        moments = [datetime.fromisoformat(row[name]).timestamp() for name in ("created_at", "updated_at")]
        began, ended = min(moments) - INTERFERES_S, max(moments) + 5
        return [
            touch.what
            for touch in self._touched
            if touch.model == row["model"] and (began < touch.at < ended or began < touch.shifted < ended)
        ]

    def _last_versions(self) -> None:
        """One more version of each, which a poll must find, and every region must serve."""
        expected = {model: self._deliver(model) for model in MODELS}
        deadline = time.monotonic() + REST_S
        while True:
            self._approve()
            result = self._syncd("status")
            status = result.document if result.code == 0 else None
            if status and not status["in_flight"]:
                wrong = self._oracle.at_rest(status, expected)
                if not wrong:
                    return
                if time.monotonic() > deadline:
                    self.report.stuck.append(f"the last versions are not served everywhere: {wrong}")
                    self._write("STUCK", str(wrong))
                    return
            elif time.monotonic() > deadline:
                self.report.stuck.append(f"the last versions are not live: {status}")
                return
            time.sleep(1.0)


_REQUESTS: Final[dict[str, Action]] = {
    "publish a new version": (5, Soak._publish_new),
    "publish an old version": (2, Soak._publish_old),
    "rollback": (2, Soak._rollback),
    "hold": (1, Soak._hold),
    "unhold": (3, Soak._unhold),
    "cancel": (1, Soak._cancel),
    "approve": (3, Soak._approve),
    "move by others": (1, Soak._move),
}
_FAULTS: Final[dict[str, Action]] = {
    "kill the daemon": (2, Soak._kill),
    "stop the daemon past its lease": (1, Soak._suspend),
    "crash the database": (1, Soak._crash_database),
    "fill a disk or make it read-only": (2, Soak._disk),
    "stop a region": (2, Soak._region_out),
    "faults of the line": (3, Soak._line),
    "step the clock": (1, Soak._clock),
}


def main() -> int:
    """Soak on each database; 1 if anything was wrong, stuck, or needed a person."""
    parser = argparse.ArgumentParser(prog="python -m tests.foreign.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="for each database")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), action="append", help="default: both")
    parser.add_argument("--seed", type=int, help="default: chosen, and printed")
    parser.add_argument("--without", action="append", default=[], choices=(*_REQUESTS, *_FAULTS), help="leave this out")
    options = parser.parse_args()
    end_on_sigterm()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    databases = options.database or ("sqlite", "postgresql")
    return max(_soak(database, options.seconds, seed, frozenset(options.without)) for database in databases)


def _stack_traces(log: Path) -> list[str]:
    """The lines of syncd's own log that have a stack trace: each is a bug by its own words."""
    found: list[str] = []
    for line in log.read_text(errors="replace").splitlines():
        if "Traceback (most recent call last)" not in line:
            continue
        # A line that is not JSON was printed by an exception that nobody caught.
        entry = json.loads(line) if line.startswith("{") else {"logger": "syncd", "event": line}
        if str(entry.get("logger", "syncd")).startswith("syncd"):
            found.append(f"a stack trace in {log}: {line[:300]}")
    return found


def _soak(database: str, seconds: float, seed: int, without: frozenset[str]) -> int:
    root = Path(tempfile.mkdtemp(prefix=f"syncd-soak-{database}-"))
    # PostgreSQL runs as another user where this is root.
    root.chmod(0o755)
    sys.stdout.write(f"{database}: seed {seed}, {seconds:.0f} s, log {root}/soak.log\n")
    sys.stdout.flush()
    with World(root / "world", database=database, seed=seed, policy=POLICY, small_disks=True, polls=True) as world:
        soak = Soak(world, seed, root / "soak.log", without)
        report = soak.run(seconds)
        report.wrong += _stack_traces(world.root / "daemon.log")
    sys.stdout.write(json.dumps({"database": database, "seed": seed, "good": report.good, **report.__dict__}) + "\n")
    sys.stdout.flush()
    if report.good:
        shutil.rmtree(root, ignore_errors=True)
    return 0 if report.good else 1


if __name__ == "__main__":
    sys.exit(main())
