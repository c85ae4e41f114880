"""The record at the size of a fleet: `python -m bench.scale --models 1000 --regions 20` prints a table, then JSON.

The record is written by syncd's own functions. Each figure is CPU time, as the median of the rounds, at a hundredth, a
tenth and all of the models: the exponent is the slope of the logarithms, 1 for linear.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import sqlalchemy as sa
from syncd.config import load
from syncd.reconcile.controller.tick import tick
from syncd.reconcile.views import overview
from syncd.state.releases import releases
from syncd.state.state import State
from syncd.wiring import context_of, topology_of

from bench.fleet_record import ENVIRONMENT, FleetShape, leave_unfinished, write_config, write_record

HERE = Path(__file__).resolve().parents[1]
PAGE = 200
ROUNDS = 5
TARGETS_S = {
    (1000, 20, "syncd status, the command"): 0.8,
    (10_000, 1, "syncd status, the command"): 1.5,
    (10_000, 1, "releases, first page"): 0.05,
    (10_000, 1, "settled tick"): 0.001,
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of one checkout at one size."""

    what: str
    models: int
    regions: int
    cpu_s: float
    statements: int | None
    target_s: float | None = None
    exponent: float | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--regions", type=int, default=20)
    parser.add_argument("--releases", type=int, default=1, help="of each model")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--postgresql", action="store_true", help="on a server of the test dependencies")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)  # one round in this process, on a record there is
    parser.add_argument("--settled", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        sys.stdout.write(json.dumps(_measured(options.one, is_settled=options.settled)))
        return
    figures = _fitted(list(_figures(options)))
    sys.stdout.write(table(figures))
    sys.stdout.write(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n")


def table(figures: Sequence[Figure]) -> str:
    """The figures as lines."""
    lines = [f"{'what':32} {'models':>7} {'regions':>7} {'CPU s':>9} {'statements':>10} {'exponent':>9} target"]
    for each in figures:
        exponent = "" if each.exponent is None else f"{each.exponent:.2f}"
        target = (
            "" if each.target_s is None else f"{each.target_s} {'met' if each.cpu_s <= each.target_s else 'MISSED'}"
        )
        statements = "" if each.statements is None else each.statements
        lines.append(
            f"{each.what:32} {each.models:7} {each.regions:7} {each.cpu_s:9.4f} {statements:>10} {exponent:>9} {target}"
        )
    return "\n".join(lines) + "\n"


def _figures(options: argparse.Namespace) -> Iterator[Figure]:
    for models in sorted({max(1, options.models // part) for part in (100, 10, 1)}):
        shape = FleetShape(models, options.regions, options.releases)
        with tempfile.TemporaryDirectory() as scratch, _database(options) as url:
            home = Path(scratch)
            _build(shape, url or f"sqlite:///{home / 'state.db'}", home)
            settled = _child([str(Path(__file__)), "--one", str(home), "--settled"])
            leave_unfinished(shape, load(home / "config.toml", ENVIRONMENT).state.url)
            rounds: dict[str, list[tuple[float, int | None]]] = {}
            for _ in range(options.rounds):
                for what, found in _round(home).items():
                    rounds.setdefault(what, []).append(found)
        rounds["settled tick"] = [tuple(json.loads(settled)["settled tick"])]
        for what, each in rounds.items():
            cpu_s = median(cpu_s for cpu_s, _ in each)
            target = TARGETS_S.get((models, options.regions, what))
            yield Figure(what, models, options.regions, cpu_s, each[0][1], target)


def _build(shape: FleetShape, url: str, home: Path) -> None:
    (home / "registry").mkdir()
    write_config(shape, url, home / "config.toml", home / "registry")
    write_record(shape, url)


def _child(arguments: Sequence[str], **environment: str) -> str:
    env = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(HERE), **environment}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout


def _round(home: Path) -> Mapping[str, tuple[float, int | None]]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _child(["-m", "syncd", "status", "-o", "json"], SYNCD_CONFIG=str(home / "config.toml"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    command_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = json.loads(_child([str(Path(__file__)), "--one", str(home)]))
    return {"syncd status, the command": (command_s, None), **{what: tuple(each) for what, each in found.items()}}


def _measured(home: Path, *, is_settled: bool) -> dict[str, tuple[float, int]]:
    config = load(home / "config.toml", ENVIRONMENT)
    url = config.state.connect_url.render_as_string(hide_password=False)
    state, topology = State(url), topology_of(config)
    told: list[str] = []
    sa.event.listen(sa.Engine, "before_cursor_execute", lambda _c, _cursor, statement, *_rest: told.append(statement))
    found: dict[str, tuple[float, int]] = {}

    def measure(what: str, work: Callable[[], object]) -> None:
        work()  # connections and caches
        told.clear()
        began_s = time.process_time()
        work()
        found[what] = (time.process_time() - began_s, len(told))

    def page() -> object:
        with state.read() as conn:
            return releases.recent(conn, PAGE)

    context = context_of(config, state)
    if is_settled:
        measure("settled tick", lambda: tick(context))
    else:
        measure("overview", lambda: overview.overview(state, topology))
        measure("models", lambda: overview.models(state, topology))
        measure("releases, first page", page)
    state.close()
    return found


def _fitted(figures: Sequence[Figure]) -> list[Figure]:
    """The same with the exponent of each series, at its largest size."""
    series: dict[str, list[Figure]] = {}
    for figure in figures:
        series.setdefault(figure.what, []).append(figure)
    fitted: list[Figure] = []
    for found in series.values():
        *smaller, largest = sorted(found, key=lambda each: each.models)
        exponent = _slope([(each.models, each.cpu_s) for each in found]) if smaller else None
        fitted += [*smaller, Figure(**{**asdict(largest), "exponent": exponent})]
    return fitted


def _slope(points: Sequence[tuple[float, float]]) -> float:
    xs, ys = [math.log(x) for x, _ in points], [math.log(max(y, 1e-6)) for _, y in points]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread


@contextmanager
def _database(options: argparse.Namespace) -> Iterator[str]:
    """The URL of an empty database; "": a SQLite file beside the configuration."""
    if not options.postgresql:
        yield ""
        return
    from pgserver.postgres_server import get_server  # noqa: PLC0415 -- for this option alone

    with tempfile.TemporaryDirectory(prefix="syncd-pg-") as home:
        Path(home).chmod(0o755)  # run by root, the server is another user
        server = get_server(Path(home) / "data", cleanup_mode="delete")
        try:
            yield server.get_uri().replace("postgresql://", "postgresql+psycopg://").replace(":@", "@")
        finally:
            server.cleanup()


if __name__ == "__main__":
    main()
