"""Pulls: one file from a server that limits each connection, and files over a long line, beside other clients.

    python -m bench.pull [--rounds 5] [--json FILE]

A client is a process that brings all files to an empty directory of a disk; syncd hashes them, proves them and
seals the version, the others do not. Clients run in turn, A B C A B C …; the first round is not counted. The line is
`bench.link`, which needs root. What is not installed (aria2c, s5cmd, rclone, curl) is left out by name.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import link
from bench.contenders import ROOT, environment
from bench.meter import run

MB = 1_000_000
LINE_BYTES_S = 25 * MB  # 200 Mbit/s
Command = Callable[[str, Path, Sequence[str]], list[str]]


@dataclass(frozen=True, slots=True)
class Case:
    """Files of one size, the rate of a connection, and the line before the server: its round trip and loss."""

    name: str
    files: int
    size_bytes: int
    connection_bytes_s: float = 0
    rtt_s: float = 0
    loss: float = 0
    peers: Sequence[str] = ()


CASES = (
    Case("25 MB/s a connection, 1 × 200 MB", 1, 200 * MB, 25 * MB, peers=("aria2c -x16", "aria2c -x16 -s16", "s5cmd")),
    Case("no limit, 1 × 1000 MB", 1, 1000 * MB, peers=("curl", "s5cmd")),
    Case("50 ms, 200 Mbit/s, 1 × 200 MB", 1, 200 * MB, rtt_s=0.05, peers=("curl", "aria2c -x16 -s16", "rclone")),
    Case("50 ms, 200 Mbit/s, 4 × 50 MB", 4, 50 * MB, rtt_s=0.05, peers=("curl", "aria2c -x16 -s16", "rclone")),
    Case("100 ms, 1 % loss, 1 × 40 MB", 1, 40 * MB, rtt_s=0.1, loss=0.01, peers=("curl", "aria2c -x16 -s16", "rclone")),
)


@dataclass(frozen=True, slots=True)
class Result:
    """Medians of one client in one case. `line` is its share of the line's rate, where there is one."""

    case: str
    client: str
    wall_s: float
    cpu_s: float
    rss_bytes: int
    mb_s: float
    line: float | None


def commands() -> Mapping[str, Command]:
    """Each client, as it is called with the address of the files, an empty directory, and the files' names."""
    found: dict[str, Command] = {"syncd": _syncd}
    aria2c, s5cmd = shutil.which("aria2c"), _beside("s5cmd")
    rclone, curl = _beside("rclone"), shutil.which("curl")
    if aria2c:
        found["aria2c -x16"] = lambda at, to, names: _aria2c(aria2c, ["-x16"], at, to, names)
        found["aria2c -x16 -s16"] = lambda at, to, names: _aria2c(aria2c, ["-x16", "-s16", "-k1M"], at, to, names)
    if s5cmd:
        found["s5cmd"] = lambda at, to, names: [
            s5cmd, "--log", "error", "--endpoint-url", at, "cp", f"s3://b/{names[0]}", f"{to}/",
        ]  # fmt: skip
    if rclone:
        found["rclone"] = lambda at, to, names: [
            rclone, "copy", f":http,url='{at}/b/':", str(to), "--no-traverse", "--multi-thread-cutoff=8M",
            *(part for name in names for part in ("--include", name)),
        ]  # fmt: skip
    if curl:
        found["curl"] = lambda at, to, names: [
            curl, "-sSfZ", *(part for name in names for part in ("-o", f"{to}/{name}", f"{at}/b/{name}")),
        ]  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds of each case")
    parser.add_argument("--json", type=Path, help="write the results there as well")
    parser.add_argument("--only", default="", help="cases whose name has this")
    asked = parser.parse_args()
    clients = commands()
    print(f"{'CASE':<36}{'CLIENT':<18}{'S':>7}{'CPU S':>7}{'MB/S':>7}{'LINE':>6}{'RSS MB':>8}")
    results: list[Result] = []
    for case in CASES:
        if asked.only in case.name:
            for each in _measured(case, clients, asked.rounds):
                results.append(each)
                line = "" if each.line is None else f"{each.line:.0%}"
                print(
                    f"{each.case:<36}{each.client:<18}{each.wall_s:>7.2f}{each.cpu_s:>7.2f}{each.mb_s:>7.0f}{line:>6}"
                    f"{each.rss_bytes / MB:>8.0f}",
                    flush=True,
                )
    if asked.json:
        asked.json.write_text(json.dumps([asdict(each) for each in results], indent=1) + "\n")


def _measured(case: Case, clients: Mapping[str, Command], rounds: int) -> Iterator[Result]:
    names = [name for name in ("syncd", *case.peers) if name in clients]
    with tempfile.TemporaryDirectory(prefix="syncd-pull-") as home, ExitStack() as stack:
        files = Path(home, "files")
        files.mkdir()
        for number in range(case.files):
            _fill(files / f"{number}.bin", case.size_bytes)
        host, prefix = "127.0.0.1", list[str]()
        if case.rtt_s:
            namespace, host = f"syncd-pull-{os.getpid()}", link.FAR
            ends = (namespace, str(LINE_BYTES_S), str(case.rtt_s), str(case.loss))
            stack.enter_context(_started([sys.executable, "-m", "bench.link", *ends]))
            prefix = ["ip", "netns", "exec", namespace]
        command = [*prefix, sys.executable, "-m", "bench.capped", str(files), str(case.connection_bytes_s), host]
        url = f"http://{host}:{stack.enter_context(_started(command))}"
        record = Path(home, "empty.db")
        subprocess.run([sys.executable, "-m", "bench.run_syncd", "--prepare", str(record)], check=True, cwd=ROOT)
        costs: dict[str, list[tuple[float, float, int]]] = {name: [] for name in names}
        for number in range(rounds + 1):
            for name in names:
                with tempfile.TemporaryDirectory(dir=home) as own:
                    shutil.copy(record, Path(own, "record.db"))
                    listed = [path.name for path in files.iterdir()]
                    cost = run(clients[name](url, Path(own), listed), environment(url, Path(own)))
                    _prove(name, files, Path(own))
                if number:
                    costs[name].append((cost.wall_s, cost.cpu_s, cost.rss_bytes))
    for name in names:
        wall_s, cpu_s, rss_bytes = (statistics.median(column) for column in zip(*costs[name], strict=True))
        rate = case.files * case.size_bytes / wall_s
        line = rate / LINE_BYTES_S if case.rtt_s else None
        yield Result(case.name, name, round(wall_s, 3), round(cpu_s, 3), int(rss_bytes), rate / MB, line)


def _prove(client: str, files: Path, own: Path) -> None:
    """A run that did not bring every file whole does not count as a measurement."""
    for path in files.iterdir():
        found = [each for each in own.rglob(path.name) if each.is_file()]
        if [each.stat().st_size for each in found] != [path.stat().st_size]:
            raise SystemExit(f"{client} did not bring {path.name}: {found}")


def _fill(path: Path, size_bytes: int) -> None:
    block = os.urandom(1 << 20)
    with path.open("wb") as file:
        for at in range(0, size_bytes, len(block)):
            file.write(block[: size_bytes - at])


@contextmanager
def _started(command: Sequence[str]) -> Iterator[str]:
    """The first line of a process that serves until its standard input ends."""
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait()


def _syncd(at: str, to: Path, names: Sequence[str]) -> list[str]:
    del names
    return [sys.executable, "-m", "bench.run_pull", f"{at}/index.json", str(to)]


def _aria2c(program: str, options: Sequence[str], at: str, to: Path, names: Sequence[str]) -> list[str]:
    base = [program, "-q", "--no-conf", "--file-allocation=none", f"--dir={to}", *options]
    return [*base, "-Z", *(f"{at}/b/{name}" for name in names)]


def _beside(name: str) -> str | None:
    """A program that pip has installed beside this Python, or any other."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name)


if __name__ == "__main__":
    main()
