"""Hostile connections on a daemon while it answers, accepts deliveries and releases: latencies, outcomes, peak RSS.

python -m bench.hostile_clients --idle 1000 --slow 500 --greedy 500 --bodies 400 --seconds 30
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import itertools
import json
import multiprocessing
import os
import resource
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from bench.fleet import MODEL, Fleet

SECRET: Final = "a secret of the bench"
LIMIT_BYTES: Final = 512 << 20  # as in deploy/kubernetes/syncd.yaml
EVERY_S: Final = 0.1
RECONNECT_S: Final = 0.2
ANSWER_LIMIT_S: Final = 30.0
_SIGNED: Final = b"POST /hooks/models HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: sha256=" + b"0" * 64 + b"\r\n"


@dataclass(frozen=True)
class Attack:
    """What one connection sends at once, and then once a second."""

    first: bytes
    each_second: bytes = b""


ATTACKS: Final[Mapping[str, Attack]] = {
    "idle": Attack(b""),
    "slow": Attack(_SIGNED + b"Content-Length: 100000\r\n\r\n", b"x"),
    "greedy": Attack(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 200),
    "bodies": Attack(_SIGNED + b"Content-Length: 1048000\r\n\r\n" + b"x" * 1_047_000),
}


class Hostile:
    """Connections of one kind in a process of their own. One that is closed is opened again."""

    def __init__(self, kind: str, count: int, port: int) -> None:
        self._attack, self._count, self._port = ATTACKS[kind], count, port
        self._selector = selectors.DefaultSelector()
        self._unsent: dict[socket.socket, bytes] = {}
        self._due_s: list[float] = [0.0] * count  # when a place is connected again

    def run(self) -> None:
        """Until the process is ended."""
        resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
        next_s = 0.0
        while True:
            now_s = time.monotonic()
            while self._due_s and self._due_s[0] <= now_s:
                self._due_s.pop(0)
                self._connect()
            if now_s >= next_s:
                next_s = now_s + 1.0
                for each in list(self._unsent):
                    self._unsent[each] += self._attack.each_second
                    self._send(each)
            for key, events in self._selector.select(0.05):
                assert isinstance(key.fileobj, socket.socket)
                self._serve(key.fileobj, events)

    def _connect(self) -> None:
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.setblocking(False)
        with suppress(BlockingIOError):
            made.connect(("127.0.0.1", self._port))
        self._unsent[made] = self._attack.first
        self._selector.register(made, selectors.EVENT_WRITE)

    def _serve(self, each: socket.socket, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._send(each)
        elif each.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or not self._is_open(each):
            self._drop(each)

    def _is_open(self, each: socket.socket) -> bool:
        """Peeks, and never reads: what was answered stays where it is."""
        try:
            return bool(each.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            time.sleep(0.0005)  # an answer that is not read keeps the socket readable

    def _send(self, each: socket.socket) -> None:
        try:
            sent = each.send(self._unsent[each]) if self._unsent[each] else 0
        except BlockingIOError:
            return
        except OSError:
            self._drop(each)
            return
        self._unsent[each] = self._unsent[each][sent:]
        wanted = selectors.EVENT_WRITE if self._unsent[each] else selectors.EVENT_READ
        self._selector.modify(each, wanted)

    def _drop(self, each: socket.socket) -> None:
        self._selector.unregister(each)
        del self._unsent[each]
        each.close()
        self._due_s.append(time.monotonic() + RECONNECT_S)


def _attack(kind: str, count: int, port: int) -> None:
    Hostile(kind, count, port).run()


@contextmanager
def hostile(counts: Mapping[str, int], port: int) -> Iterator[None]:
    """Connections of each kind, held for the block."""
    with ExitStack() as stack:
        for kind, count in counts.items():
            if count:
                process = multiprocessing.get_context("spawn").Process(target=_attack, args=(kind, count, port))
                process.start()
                stack.callback(process.join)
                stack.callback(process.kill)
        yield


@dataclass
class Outcome:
    """What good callers met."""

    codes: dict[str, Counter[str]] = field(default_factory=dict)
    took_s: dict[str, list[float]] = field(default_factory=dict)
    released: dict[str, str] = field(default_factory=dict)
    idle_bytes: int = 0
    peak_bytes: int = 0

    def share(self, what: str, code: str) -> float:
        """The share of calls that ended so."""
        codes = self.codes[what]
        return codes[code] / codes.total()

    def tell(self) -> None:
        """Print the figures."""
        for what, took in self.took_s.items():
            took.sort()
            median, p99 = took[len(took) // 2], took[int(len(took) * 0.99)]
            line = f"median {median * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms, longest {took[-1] * 1e3:.0f} ms"
            print(f"{what}: {dict(self.codes[what])}; {line}")
        for what, how in self.released.items():
            print(f"{what}: {how}")
        above = (self.peak_bytes - self.idle_bytes) / 2**20
        print(f"RSS of the daemon: idle {self.idle_bytes / 2**20:.0f} MiB, peak {above:.0f} MiB above it")


class ServedFleet(Fleet):
    """A fleet whose daemon serves the API, within the shipped limit of memory."""

    def __init__(self, home: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        super().__init__(home, regions=1, functions=1)
        self._limit_bytes = limit_bytes
        self._env = {name: value for name, value in self._env.items() if not name.startswith("COVERAGE")}
        self._env["BENCH_HOOK_SECRET"] = SECRET
        self.port = 0
        self.daemon_pid = 0

    def _config(self, endpoints: dict[str, str]) -> str:
        hook = '[hooks.models]\nkind = "github"\nregistry = "files"\nsecret = { env = "BENCH_HOOK_SECRET" }\n'
        return super()._config(endpoints) + '[api]\nlisten = "127.0.0.1:0"\n' + hook

    @contextmanager
    def serving(self) -> Iterator[None]:
        """The daemon runs. RLIMIT_DATA counts the stacks of threads whole, so they are as small as musl's."""
        log = (self._home / "daemon.log").open("wb")
        limited = f"ulimit -s 1024; exec prlimit --data={self._limit_bytes} {sys.executable} -m syncd run"
        command = ["sh", "-c", limited] if self._limit_bytes else [sys.executable, "-m", "syncd", "run"]
        process = subprocess.Popen(command, env=self._env, stdout=log, stderr=log)
        try:
            self.daemon_pid = process.pid
            self.port = self._listening(process)
            yield
        finally:
            process.terminate()
            process.wait(120)
            log.close()

    def _listening(self, process: subprocess.Popen[bytes]) -> int:
        until_s = time.monotonic() + 120
        while time.monotonic() < until_s and process.poll() is None:
            for line in (self._home / "daemon.log").read_text().splitlines():
                with suppress(ValueError):
                    if (event := json.loads(line)).get("event") == "server.listening":
                        return int(event["address"].rpartition(":")[2])
            time.sleep(0.1)
        raise SystemExit((self._home / "daemon.log").read_text())


def measure(
    counts: Mapping[str, int], seconds: float, limit_bytes: int = LIMIT_BYTES, *, release: bool = True
) -> Outcome:
    """Hold hostile connections for some seconds, and do meanwhile what a good caller does."""
    found = Outcome()
    with tempfile.TemporaryDirectory() as directory:
        fleet = ServedFleet(Path(directory), limit_bytes)
        with fleet.up(daemon=False), fleet.serving():
            if release:
                fleet.deliver("v1")
                fleet.run("publish", f"{MODEL}@v1", "--wait")
            _call_all(fleet.port, found, 3.0)
            found.codes.clear()
            found.took_s.clear()
            found.idle_bytes = _high_water_bytes(fleet.daemon_pid)
            with hostile(counts, fleet.port):
                time.sleep(3.0)  # they are connected
                releasing = threading.Thread(target=_release, args=(fleet, found))
                if release:
                    releasing.start()
                _call_all(fleet.port, found, seconds)
                if release:
                    releasing.join()
                found.peak_bytes = _high_water_bytes(fleet.daemon_pid)
    return found


def _release(fleet: ServedFleet, found: Outcome) -> None:
    fleet.deliver("v2")
    began_s = time.monotonic()
    try:
        fleet.run("publish", f"{MODEL}@v2", "--wait")
    except subprocess.SubprocessError as error:
        found.released["release"] = str(error)
    else:
        found.released["release"] = f"live after {time.monotonic() - began_s:.1f} s"


def _call_all(port: int, found: Outcome, seconds: float) -> None:
    numbers = itertools.count()

    def deliver(client: httpx.Client) -> httpx.Response:
        body = json.dumps({"action": "published", "repository": {"full_name": f"team/m{next(numbers)}"}}).encode()
        signature = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        headers = {"X-GitHub-Event": "release", "X-Hub-Signature-256": signature}
        return client.post("/hooks/models", content=body, headers=headers)

    calls: Mapping[str, Callable[[httpx.Client], httpx.Response]] = {
        "GET /healthz": lambda client: client.get("/healthz"),
        "deliveries": deliver,
    }
    threads = [threading.Thread(target=_call, args=(port, what, call, found, seconds)) for what, call in calls.items()]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def _call(port: int, what: str, call: Callable[[httpx.Client], httpx.Response], found: Outcome, seconds: float) -> None:
    """Each on a connection of its own, as a probe does."""
    codes, took = found.codes.setdefault(what, Counter()), found.took_s.setdefault(what, [])
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        at = time.perf_counter()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=ANSWER_LIMIT_S, trust_env=False) as client:
                codes[str(call(client).status_code)] += 1
        except httpx.HTTPError as error:
            codes[type(error).__name__] += 1
        took.append(time.perf_counter() - at)
        time.sleep(EVERY_S)


def _high_water_bytes(pid: int) -> int:
    (line,) = [each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    for kind in ATTACKS:
        parser.add_argument(f"--{kind}", type=int, default=0, help="connections")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--limit", type=int, default=LIMIT_BYTES, help="RLIMIT_DATA of the daemon in bytes; 0: none")
    given = parser.parse_args()
    counts = {kind: getattr(given, kind) for kind in ATTACKS}
    print(f"{counts}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, limit {given.limit >> 20} MiB", flush=True)
    measure(counts, given.seconds, given.limit).tell()


if __name__ == "__main__":
    main()
