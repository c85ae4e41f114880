"""`python -m bench.bounds`: what is promised as a bound, measured: memory, bytes sent twice after a kill, and rates.

The sink is that of `python -m bench`; the source is generated, so that 20 GB cost no disk.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from syncd.transfer import CopySettings

from bench.bakes import Bakes
from bench.contenders import ROOT
from bench.meter import SinkProcess, run
from bench.relay import Relay
from bench.run_bounds import Order, sha256_of_zeros

PART_BYTES = 8 << 20
PARTS_IN_FLIGHT = CopySettings().parts_in_flight
_KILLS = 3  # of bakes, which take longer
_LOOK_S = 0.02
_MB = 1_000_000
_LINE_BYTES_S = 100 * _MB


class Bounds:
    """Runs copies against one sink; `scratch` is for this process alone."""

    def __init__(self, sink: SinkProcess, scratch: Path) -> None:
        self._sink = sink
        self._scratch = scratch
        self._runs = 0

    def memory(self, size_bytes: int, targets: int) -> str:
        """The peak of one copy."""
        self._sink.clear()
        cost = run(_command(self._order(size_bytes, self._buckets(targets))), {"PATH": ""})
        rate = size_bytes * targets / cost.wall_s / _MB
        return (
            f"memory: {size_bytes / _MB:.0f} MB to {targets} targets: peak RSS {cost.rss_bytes / _MB:.0f} MB,"
            f" {cost.wall_s:.1f} s, {rate:.0f} MB/s in all"
        )

    def killed(self, size_bytes: int, chance: random.Random) -> str:
        """What one copy that is killed around its middle, and begun again, sends more than once."""
        self._sink.clear()
        order = self._order(size_bytes, self._buckets(1))
        at_bytes = int(size_bytes * chance.uniform(0.4, 0.6))
        # Over a line that is slower than both ends: else nothing is on its way when the kill comes.
        with Relay(self._sink.port, _LINE_BYTES_S) as relay, _started(_over(relay, order)) as process:
            while self._arrived() < at_bytes and process.poll() is None:
                time.sleep(_LOOK_S * chance.random())
            process.send_signal(signal.SIGKILL)
        if process.returncode != -signal.SIGKILL:
            raise SystemExit("it was through before it was killed")
        before = self._arrived()
        run(_command(order), {"PATH": ""})
        twice = self._arrived() - size_bytes
        verdict = "" if twice <= PARTS_IN_FLIGHT * PART_BYTES else " MORE THAN THE PARTS IN FLIGHT"
        return f"killed at {before / size_bytes:5.1%}: {twice / PART_BYTES:.2f} parts sent twice{verdict}"

    def again(self, size_bytes: int, targets: int) -> str:
        """What the same version costs a second time, in a process that knows nothing of the first."""
        self._sink.clear()
        order = replace(self._order(size_bytes, self._buckets(targets)), seal=True)
        run(_command(order), {"PATH": ""})
        before = self._arrived()
        cost = run(_command(order), {"PATH": ""})
        return (
            f"again: {size_bytes / _MB:.0f} MB at {targets} targets: {self._arrived() - before} bytes,"
            f" {cost.wall_s:.2f} s, the start of the process included"
        )

    def limited(self, bytes_s: int, targets: int, seconds: float) -> str:
        """The rate of one copy under a limit."""
        self._sink.clear()
        size_bytes = int(bytes_s * seconds / targets)
        order = self._order(size_bytes, self._buckets(targets), bytes_s)
        with _started(order) as process:
            while not self._arrived() and process.poll() is None:
                time.sleep(_LOOK_S)
            first_s, first = time.monotonic(), self._arrived()
            process.wait()
            last_s, last = time.monotonic(), self._arrived()
        rate = (last - first) / (last_s - first_s) / _MB
        return f"limited to {bytes_s / _MB:.0f} MB/s, {targets} targets: {rate:.2f} MB/s in {last_s - first_s:.1f} s"

    def beside_slow(self, size_bytes: int, bytes_s: int) -> str:
        """When two fast targets are finished, alone and beside a slow one, which is not waited for."""
        fast = self._buckets(2)
        alone = self._finished(self._order(size_bytes, fast), set(fast))
        with Relay(self._sink.port, bytes_s) as relay:
            order = self._order(size_bytes, {"slow": relay.endpoint, **fast})
            beside = self._finished(order, set(fast))
        return (
            f"beside a store of {bytes_s / _MB:.0f} MB/s: two fast ones are finished with {size_bytes / _MB:.0f} MB"
            f" after {beside:.1f} s, without it after {alone:.1f} s"
        )

    def _finished(self, order: Order, names: set[str]) -> float:
        self._sink.clear()
        with _started(order) as process:
            assert process.stdout is not None
            last_s, missing = 0.0, set(names)
            while missing:
                line = process.stdout.readline()
                if line.startswith("{"):  # and no log
                    told = json.loads(line)
                    missing.discard(told["target"])
                    last_s = float(told["wall_s"])
                elif not line:
                    raise SystemExit(f"it ended before {missing} were finished")
            process.kill()
        return last_s

    def _arrived(self) -> int:
        return sum(self._sink.counts().body_bytes.values())

    def _buckets(self, count: int) -> Mapping[str, str]:
        return {f"bucket-{n + 1}": self._sink.endpoint for n in range(count)}

    def _order(self, size_bytes: int, targets: Mapping[str, str], bytes_s: int = 0) -> Order:
        self._runs += 1
        record = self._scratch / f"record-{self._runs}.db"
        subprocess.run([sys.executable, "-m", "bench.run_syncd", "--prepare", str(record)], check=True, cwd=ROOT)
        files = max(1, size_bytes // (10_000 * _MB))
        each_bytes = size_bytes // files
        return Order(each_bytes, sha256_of_zeros(each_bytes), files, dict(targets), str(record), bytes_s)


def _command(order: Order) -> list[str]:
    return [sys.executable, "-m", "bench.run_bounds", json.dumps(asdict(order))]


def _over(relay: Relay, order: Order) -> Order:
    return replace(order, targets=dict.fromkeys(order.targets, relay.endpoint))


@contextmanager
def _started(order: Order) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(_command(order), stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["memory", "again", "killed", "baked", "limited", "slow"])
    parser.add_argument("--sizes-mb", type=int, nargs="+", default=[2000, 20_000], help="of the models for memory")
    parser.add_argument("--targets", type=int, nargs="+", default=[1, 5], help="how many, for memory")
    parser.add_argument("--size-mb", type=int, default=2000, help="of the model for all else")
    parser.add_argument("--layer-mb", type=int, default=10_000, help="of the one layer that is baked")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the limit is held")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, SinkProcess(1 << 30) as sink:
        for line in _lines(options, Bounds(sink, Path(scratch)), Bakes(Path(scratch), random.Random(options.seed))):
            print(line, flush=True)


def _lines(options: argparse.Namespace, bounds: Bounds, bakes: Bakes) -> Iterator[str]:
    if "memory" in options.what:
        for size in options.sizes_mb:
            yield from (bounds.memory(size * _MB, targets) for targets in options.targets)
    if "again" in options.what:
        yield from (bounds.again(options.size_mb * _MB, targets) for targets in options.targets)
    if "killed" in options.what:
        chance = random.Random(options.seed)
        yield from (bounds.killed(options.size_mb * _MB, chance) for _ in range(options.kills))
    if "baked" in options.what:
        yield bakes.memory(options.layer_mb * _MB)
        yield bakes.killed(options.layer_mb * _MB)
        for _ in range(min(options.kills, _KILLS)):
            yield bakes.killed(options.size_mb * _MB)
            yield bakes.killed_alone(options.size_mb * _MB)
    if "limited" in options.what:
        yield bounds.limited(20 * _MB, 5, options.seconds)
    if "slow" in options.what:
        yield bounds.beside_slow(options.size_mb * _MB, _MB)


if __name__ == "__main__":
    main()
