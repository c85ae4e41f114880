"""The dashboard at the size of a fleet: `python -m bench.console --models 1000 --regions 20` prints figures.

First byte and bytes of the first screen, of the last page and of a search; then the CPU of the server and the
statements while dashboards are open and nothing happens. Server and browsers are on one machine; the server is a
process of its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import threading
import time
from contextlib import ExitStack, closing
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import httpx
import sqlalchemy as sa
from syncd.api.server import api_of
from syncd.config import load
from syncd.daemon.health import Health
from syncd.plan.roles import Role
from syncd.state.access import tokens
from syncd.state.state import State
from syncd.ui.routes import routes_of
from syncd.wiring import context_of

from bench.fleet_record import ENVIRONMENT, FleetShape, write_config, write_record

ROUNDS = 20
LIMIT_S = 60.0
FIRST_BYTE_S, PAGE_BYTES = 0.150, 500_000
PATHS = ("/ui", "/ui?page=20", "/ui?find=model-00999", "/ui/models/model-00500", "/ui/releases")


def main() -> None:
    """Measure, and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--regions", type=int, default=20)
    parser.add_argument("--open", type=int, nargs="*", default=[1, 100, 150], help="how many dashboards are open")
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    shape = FleetShape(given.models, given.regions)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
        root = Path(directory)
        url = f"sqlite:///{root / 'syncd.db'}"
        (root / "registry").mkdir()
        write_config(shape, url, root / "config.toml", root / "registry")
        with (root / "config.toml").open("a") as config:
            config.write('[api]\nlisten = "127.0.0.1:0"\n')
        write_record(shape, url)
        ours, theirs = multiprocessing.Pipe()
        server = multiprocessing.get_context("spawn").Process(target=serve, args=(root, theirs), daemon=True)
        server.start()
        address, token_texts = ours.recv()
        found: dict[str, object] = {"pages": pages(address, token_texts[0], ours)}
        found |= {f"open {count}": idle(address, token_texts, ours, count, given.seconds) for count in given.open}
        ours.send("stop")
        server.join()
    print(json.dumps(found, indent=2))


def serve(root: Path, ours: Connection) -> None:
    """The server: says how much CPU and how many statements it has used when it is asked."""
    config = load(root / "config.toml", ENVIRONMENT)
    state = State(config.state.url)
    with state.write() as conn:
        now = state.now(conn)
        made = [tokens.create(conn, f"ann-{number}", Role.READ, "bench", now).reveal() for number in range(8)]
    statements = [0]

    def note(*_: object) -> None:
        statements[0] += 1

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    server = api_of(config, context_of(config, state), Health([], 1.0), routes_of())
    server.start()
    ours.send((server.address, made))
    while ours.recv() != "stop":
        ours.send((time.process_time(), statements[0]))
    server.stop()
    state.close()


def sign_in(address: str, token: str) -> httpx.Client:
    """A browser with a session."""
    client = httpx.Client(base_url=address, timeout=LIMIT_S, trust_env=False)
    page = client.get("/ui/sign-in").text
    csrf = page.partition('name="csrf" value="')[2].partition('"')[0]
    assert client.post("/ui/sign-in", data={"csrf": csrf, "token": token}).status_code == 303
    return client


def pages(address: str, token: str, server: Connection) -> dict[str, dict[str, object]]:
    """First byte, CPU of the server and size of each page."""
    found: dict[str, dict[str, object]] = {}
    with closing(sign_in(address, token)) as client:
        for path in PATHS:
            firsts, size = [], 0
            server.send("figures")
            cpu_s, _ = server.recv()
            for _ in range(ROUNDS):
                began = time.perf_counter()
                with client.stream("GET", path) as answer:
                    pieces = answer.iter_raw()
                    size = len(next(pieces))
                    firsts.append(time.perf_counter() - began)
                    size += sum(len(piece) for piece in pieces)
                assert answer.status_code == 200, path
            server.send("figures")
            cpu_ms = 1000 * (server.recv()[0] - cpu_s) / ROUNDS
            is_met = median(firsts) < FIRST_BYTE_S and size < PAGE_BYTES
            first_ms = round(median(firsts) * 1000, 1)
            found[path] = {"first byte ms": first_ms, "CPU ms": round(cpu_ms, 1), "bytes": size, "met": is_met}
    return found


def idle(address: str, token_texts: list[str], server: Connection, count: int, seconds: float) -> dict[str, object]:
    """CPU and statements of the server while `count` dashboards are open and nothing changes."""
    with ExitStack() as opened:
        clients = [opened.enter_context(closing(sign_in(address, text))) for text in token_texts]
        streams = [
            opened.enter_context(clients[number % len(clients)].stream("GET", "/ui/stream")) for number in range(count)
        ]
        assert {each.status_code for each in streams} == {200}
        threading.Event().wait(2.0)
        server.send("figures")
        cpu_s, statements = server.recv()
        threading.Event().wait(seconds)
        server.send("figures")
        after_s, afterwards = server.recv()
    percent = 100 * (after_s - cpu_s) / seconds
    return {
        "CPU %": round(percent, 2),
        "CPU % each": round(percent / count, 3),
        "statements a second": round((afterwards - statements) / seconds, 1),
    }


if __name__ == "__main__":
    main()
