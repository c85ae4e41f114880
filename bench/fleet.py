"""A rollback over many regions of the local cloud: how long to the last alias, how far apart, which calls, which bytes.

python -m bench.fleet --regions 20 --functions 5
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import syncd.localcloud
from syncd.state.releases import events
from syncd.state.state import State

from bench.contenders import ROOT
from bench.meter import Cost
from bench.meter import run as measured
from bench.run_bounds import sha256_of_zeros

LIMIT_S = 1800
MODEL = "m"
SECRET = "local-access-secret"
FUNCTION = Path(syncd.localcloud.__file__).parent / "example_function.py"


class Fleet:
    """A local cloud, a daemon, and the configuration of both below one directory."""

    def __init__(self, home: Path, regions: int, functions: int) -> None:
        self._home = home
        self._regions = [f"cn-region-{number}" for number in range(1, regions + 1)]
        self._functions = [f"f{number}" for number in range(1, functions + 1)]
        own = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        self._env = own | {"FLEET_SECRET": SECRET, "SYNCD_CONFIG": str(home / "config.toml"), "PYTHONPATH": str(ROOT)}
        self._endpoint = ""

    @contextmanager
    def up(self, *, daemon: bool = True) -> Iterator[None]:
        """The cloud is there, the record is empty, a daemon works on it or else whoever publishes does."""
        seed = self._home / "seed.toml"
        seed.write_text(self._seed())
        arguments = ["local", "up", "--root", str(self._home / "cloud"), "--port", "0", "--seed", str(seed)]
        with self._started(*arguments, "--regions", ",".join(self._regions), "-o", "json") as cloud:
            assert cloud.stdout is not None
            endpoints = json.loads(cloud.stdout.readline())["endpoints"]
            self._endpoint = endpoints[self._regions[0]]
            (self._home / "config.toml").write_text(self._config(endpoints))
            (self._home / "registry" / MODEL).mkdir(parents=True)
            self.run("db", "create")
            with self._started("run") if daemon else nullcontext():
                yield

    def deliver(self, version: str) -> None:
        """A small version, complete."""
        place = self._home / "registry" / MODEL / version
        place.mkdir()
        (place / "weights.bin").write_bytes(version.encode() * 1000)
        sha256 = hashlib.sha256(version.encode() * 1000).hexdigest()
        (place / "SHA256SUMS").write_text(f"{sha256}  weights.bin\n")

    def deliver_sparse(self, version: str, size_bytes: int) -> None:
        """One file of zeros that takes no room here."""
        place = self._home / "registry" / MODEL / version
        place.mkdir()
        with (place / "weights.bin").open("wb") as file:
            file.truncate(size_bytes)
        (place / "SHA256SUMS").write_text(f"{sha256_of_zeros(size_bytes)}  weights.bin\n")

    def run(self, *arguments: str) -> None:
        """A command, to its end."""
        subprocess.run(_command(*arguments), env=self._env, check=True, stdout=subprocess.DEVNULL, timeout=LIMIT_S)

    def measured(self, *arguments: str) -> Cost:
        """A command, to its end, and what it cost."""
        return measured(_command(*arguments), self._env)

    def forget_calls(self) -> None:
        """Count from now on."""
        httpx.delete(f"{self._endpoint}/_local/counters", trust_env=False).raise_for_status()

    def calls(self) -> list[dict[str, Any]]:
        """What the cloud was asked since: totals by service, operation and status."""
        found: list[dict[str, Any]] = httpx.get(f"{self._endpoint}/_local/counters", trust_env=False).json()["totals"]
        return found

    def flipped(self, since: datetime) -> list[datetime]:
        """When aliases were moved, in order, by the record."""
        state = State(f"sqlite:///{self._home / 'syncd.db'}")
        with state.read() as conn:
            told = events.after(conn, 0, 1_000_000)
        state.close()
        return sorted(event.at for event in told if event.kind == "flip.flipped" and event.at >= since)

    @contextmanager
    def _started(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        log = (self._home / f"{arguments[0]}.log").open("wb")
        process = subprocess.Popen(_command(*arguments), env=self._env, stdout=subprocess.PIPE, stderr=log)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(120)
            log.close()
            if process.stdout is not None:
                process.stdout.close()

    def _seed(self) -> str:
        start = json.dumps([sys.executable, "-IS", str(FUNCTION)])
        container = f'{{ image = "f:1", port = 9000, command = {start} }}'
        parts = [f'[[buckets]]\nregion = "{region}"\nname = "models-{region}"\n' for region in self._regions]
        parts += [
            f'[[functions]]\nregion = "{region}"\nfunctionName = "{name}"\nruntime = "custom-container"\n'
            'handler = "index.handler"\ncpu = 1.0\nmemorySize = 1024\ndiskSize = 512\ntimeout = 1200\n'
            f'role = "acs:ram::1234567890123456:role/f"\nenvironmentVariables = {{ MODELS = "{MODEL}=M_PATH" }}\n'
            f"customContainerConfig = {container}\n"
            for region in self._regions
            for name in self._functions
        ]
        return "\n".join(parts)

    def _config(self, endpoints: dict[str, str]) -> str:
        parts = [f'[state]\nurl = "sqlite:///{self._home / "syncd.db"}"\n[policy]\nauto_release = false']
        parts += [f'[registries.files]\nkind = "directory"\npath = "{self._home / "registry"}"\nsettle_s = 0.0']
        parts += ['[credentials.c]\naccess_key_id = "local-access-key"\naccess_key_secret = { env = "FLEET_SECRET" }']
        for region, endpoint in endpoints.items():
            oss = f'endpoint = "{endpoint}"\nbucket = "models-{region}"'
            fc = f'endpoint = "{endpoint.removeprefix("http://")}"\nprotocol = "http"'
            parts += [
                f'[targets.{region}]\nkind = "oss"\nregion = "{region}"\n{oss}\ncredentials = "c"',
                f'[runtimes.{region}]\nkind = "fc"\nregion = "{region}"\n{fc}\ncredentials = "c"',
            ]
            parts += [self._binding(region, name) for name in self._functions]
        return "\n".join(parts) + "\n"

    @staticmethod
    def _binding(region: str, name: str) -> str:
        return (
            f'[bindings.{name}-{region}]\nruntime = "{region}"\nfunction = "{name}"\n'
            f'[[bindings.{name}-{region}.models]]\nmodel = "{MODEL}"\ntarget = "{region}"\nmount_dir = "/mnt/m"\n'
            'env = { path = "M_PATH", digest = "M_DIGEST" }'
        )


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "syncd", *arguments]


def main() -> None:
    """Release two versions, go back to the first, and say what that took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--regions", type=int, default=20)
    parser.add_argument("--functions", type=int, default=5, help="in each region")
    given = parser.parse_args()
    print(
        f"{given.regions} regions, {given.functions} functions each,"
        f" {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    with tempfile.TemporaryDirectory() as directory:
        topology = Fleet(Path(directory), given.regions, given.functions)
        with topology.up():
            for version in ("v1", "v2"):
                topology.deliver(version)
                began_s = time.perf_counter()
                topology.run("publish", f"{MODEL}@{version}", "--wait")
                print(f"publish {version}: {time.perf_counter() - began_s:.1f} s", flush=True)
            topology.forget_calls()
            began = datetime.now(UTC)
            topology.run("rollback", MODEL, "--why", "bench")
            _tell(topology, began, given.regions * given.functions)


def _tell(topology: Fleet, began: datetime, wanted: int) -> None:
    moved = topology.flipped(began)
    if len(moved) != wanted:
        raise SystemExit(f"{len(moved)} of {wanted} aliases were moved")
    calls = topology.calls()
    asked: Counter[str] = Counter()
    for each in calls:
        if each["service"] == "fc":
            asked[each["operation"]] += each["count"]
    bad = sum(c["count"] for c in calls if c["service"] == "fc" and c["status"] != 200)
    bytes_moved = sum(c["bytes_in"] + c["bytes_copied"] for c in calls if c["service"] == "oss")
    first_s, last_s = [(at - began).total_seconds() for at in (moved[0], moved[-1])]
    print(f"rollback: from the command to the first alias {first_s:.1f} s, to the last {last_s:.1f} s")
    print(f"skew between first and last flip: {last_s - first_s:.2f} s")
    count = sum(asked.values())
    print(f"calls to Function Compute: {count} ({count / wanted:.1f} an alias); {bad} answered otherwise than 200")
    print(", ".join(f"{operation} {count}" for operation, count in sorted(asked.items())))
    print(f"bytes moved in object storage: {bytes_moved}")


if __name__ == "__main__":
    main()
