"""The daemon as a process, asked over HTTP: what it accepted survives `kill -9`, and SIGTERM ends what listens."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest
from syncd.state.access import deliveries
from syncd.state.releases import releases
from syncd.state.state import State

from tests.acceptance.stage import LIMIT_S, command, environment, run, until
from tests.unit.cli.calling import CONFIG
from tests.unit.registry.trees import THEN_S, write

HOOK: Final = "a secret of a hook"
ENVIRON: Final = environment(CALLING_SECRET="calling-secret-of-a-test", HOOK_SECRET=HOOK)
MORE: Final = """
[api]
listen = "127.0.0.1:0"

[hooks.models]
kind = "harbor"
secret = { env = "HOOK_SECRET" }
"""


PROVIDER: Final = """
issuer = "http://127.0.0.1:9"
client_id = "syncd"
client_secret = { env = "HOOK_SECRET" }
public_url = "https://syncd.example.com"
roles_read = ["all"]
"""


@pytest.fixture
def home(tmp_path: Path, sqlite_template: Path) -> Path:
    """A configuration with an API, a record, and a registry that is polled once an hour."""
    text = CONFIG.format(home=tmp_path).replace("[registries.models]", "[registries.models]\npoll_s = 3600.0")
    (tmp_path / "config.toml").write_text(text + MORE)
    shutil.copyfile(sqlite_template, tmp_path / "syncd.db")
    (tmp_path / "registry" / "m").mkdir(parents=True)
    (tmp_path / "nas").mkdir()
    return tmp_path


@pytest.mark.parametrize("enabled", [True, False])
def test_the_daemon_serves_the_dashboard_unless_it_is_turned_off(home: Path, *, enabled: bool) -> None:
    with (home / "config.toml").open("a") as config:
        config.write(f"\n[ui]\nenabled = {str(enabled).lower()}\n{PROVIDER}")
    with daemon(home) as (_, address):
        answer = httpx.get(f"{address}/ui", follow_redirects=True, trust_env=False)
        assert (answer.status_code, "with a token" in answer.text) == ((200, True) if enabled else (404, False))
        away = httpx.get(f"{address}/ui/oidc", trust_env=False)
        assert away.status_code == (503 if enabled else 404)


@contextmanager
def daemon(home: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`syncd run`, and where it listens."""
    arguments = command("run", "-c", str(home / "config.toml"), "-o", "json")
    process = subprocess.Popen(arguments, env=ENVIRON, stderr=subprocess.PIPE)
    assert process.stderr is not None
    address = ""
    for line in process.stderr:
        told = json.loads(line)
        if told["event"] == "server.listening":
            address = told["address"]
            break
    rest = threading.Thread(target=process.stderr.read)  # a full pipe would stop it
    rest.start()
    try:
        assert address
        yield process, address
    finally:
        process.kill()
        process.wait(LIMIT_S)
        rest.join()
        process.stderr.close()


def push(address: str, tag: str) -> int:
    told = {"type": "PUSH_ARTIFACT", "event_data": {"resources": [{"tag": tag}]}}
    sent = httpx.post(f"{address}/hooks/models", json=told, headers={"Authorization": HOOK}, trust_env=False)
    return sent.status_code


def test_a_delivery_that_was_accepted_survives_a_kill_and_brings_the_version(home: Path) -> None:
    state = State(f"sqlite:///{home / 'syncd.db'}")
    hidden = (home / "registry").rename(home / "hidden")  # no look can succeed, so what is told must wait
    with daemon(home) as (process, address):
        assert push(address, "v1") == 202
        os.kill(process.pid, signal.SIGKILL)
        process.wait(LIMIT_S)
    with state.read() as conn:
        assert [told.registry for told in deliveries.unpolled(conn, "models")] == ["models"]
    hidden.rename(home / "registry")
    write(home / "registry" / "m" / "v1", {"weights.bin": b"w"}, THEN_S)
    write(home / "registry" / "m" / "v1", {"READY": b""}, THEN_S)
    with daemon(home) as (process, address):

        def arrived() -> bool:
            with state.read() as conn:
                return releases.latest(conn, "m") is not None and not deliveries.is_waiting(conn, "models")

        until(arrived, "the version that was told of")
        assert push(address, "v1") == 202
        with state.read() as conn:
            assert deliveries.unpolled(conn, "models") == []
    state.close()


def test_it_is_asked_by_command_and_leaves_on_sigterm(home: Path) -> None:
    token = run("token", "create", "ci", "--role", "publish", "-c", str(home / "config.toml"), env=ENVIRON).out.strip()
    write(home / "registry" / "m" / "v1", {"weights.bin": b"w"}, THEN_S)
    write(home / "registry" / "m" / "v1", {"READY": b""}, THEN_S)
    with daemon(home) as (process, address):
        until(lambda: httpx.get(f"{address}/readyz", trust_env=False).status_code == 200, "readiness")
        asked = run("publish", "m@v1", "--server", address, "-o", "json", env=environment(SYNCD_TOKEN=token)).document
        assert (asked["model"], asked["version"]) == ("m", "v1")
        wrong = run("publish", "m@v1", "--server", address, env=environment(SYNCD_TOKEN="x"))
        assert wrong.code == 10
        process.terminate()
        assert process.wait(LIMIT_S) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{address}/healthz", trust_env=False)
