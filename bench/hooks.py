"""Webhook deliveries at a steady rate, each sent twice, into one server on SQLite: none lost, none doubled, how long.

python -m bench.hooks --rate 200 --seconds 30
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from syncd.api.dependencies import Dependencies
from syncd.api.server import ApiServer
from syncd.api.webhooks.webhooks import webhooks_of
from syncd.config import load
from syncd.daemon.health import Health
from syncd.engine.upgrade import create
from syncd.plan.topology import Topology
from syncd.reconcile.context import World
from syncd.state.access import deliveries
from syncd.state.state import State

SECRET = "a secret of the bench"
CONFIG = """
[state]
url = "sqlite:///{root}/syncd.db"
[registries.models]
kind = "directory"
path = "{root}"
[hooks.models]
kind = "github"
secret = {{ env = "BENCH_HOOK_SECRET" }}
"""
SENDERS = 32


@dataclass
class Sent:
    """What was answered, and after how many seconds."""

    codes: Counter[int] = field(default_factory=Counter)
    took_s: list[float] = field(default_factory=list)
    new: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, answer: httpx.Response, took_s: float) -> None:
        """One answer."""
        with self.lock:
            self.codes[answer.status_code] += 1
            self.took_s.append(took_s)
            self.new += answer.json().get("new", 0)


def main() -> None:
    """Send, count, and say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=200, help="deliveries a second")
    parser.add_argument("--seconds", type=int, default=30)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        (root / "config.toml").write_text(CONFIG.format(root=root))
        config = load(root / "config.toml", {"BENCH_HOOK_SECRET": SECRET})
        create(config.state.url)
        state = State(config.state.url)
        world = World(state=state, topology=Topology({}, {}, {}, {}), registries={}, targets={}, runtimes={})
        site = Dependencies(world, webhooks_of(config), Health([], 1.0), lambda: None)
        server = ApiServer(site, "127.0.0.1:0")
        server.start()
        try:
            sent = _send(server.address, given.rate, given.seconds)
        finally:
            server.stop()
        with state.read() as conn:
            recorded = len(deliveries.unpolled(conn, "models"))
        state.close()
    _tell(sent, recorded, given.rate * given.seconds)


def _send(address: str, rate: int, seconds: int) -> Sent:
    """`rate` a second, each as soon as it is due whether or not others were answered; every tenth is sent again."""
    import hashlib  # noqa: PLC0415 -- the sender's side
    import hmac  # noqa: PLC0415

    sent, numbers = Sent(), itertools.count()
    began = time.perf_counter()

    def sender(client: httpx.Client) -> None:
        while (number := next(numbers)) < rate * seconds:
            due_s = began + number / rate
            time.sleep(max(0.0, due_s - time.perf_counter()))
            body = json.dumps({"action": "published", "repository": {"full_name": f"team/m{number}"}}).encode()
            signature = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
            headers = {"X-GitHub-Event": "release", "X-GitHub-Delivery": f"d-{number}"}
            headers["X-Hub-Signature-256"] = signature
            for _ in range(2 if number % 10 == 0 else 1):
                at = time.perf_counter()
                answer = client.post(f"{address}/hooks/models", content=body, headers=headers)
                sent.note(answer, time.perf_counter() - at)

    limits = httpx.Limits(max_connections=SENDERS, max_keepalive_connections=SENDERS)
    with httpx.Client(timeout=30, trust_env=False, limits=limits) as client, ThreadPoolExecutor(SENDERS) as pool:
        for each in [pool.submit(sender, client) for _ in range(SENDERS)]:
            each.result()
    sent.took_s.sort()
    print(f"sent {sum(sent.codes.values())} in {time.perf_counter() - began:.1f} s on {os.cpu_count()} cores")
    return sent


def _tell(sent: Sent, recorded: int, wanted: int) -> None:
    took = sent.took_s
    print(f"answers: {dict(sent.codes)}")
    print(f"median {statistics.median(took) * 1e3:.1f} ms, p99 {took[int(len(took) * 0.99)] * 1e3:.1f} ms")
    print(f"longest {took[-1] * 1e3:.1f} ms")
    print(f"different {wanted}, told as new {sent.new}, recorded {recorded}")
    print(f"lost {wanted - recorded}, doubled {sent.new - recorded}")


if __name__ == "__main__":
    main()
