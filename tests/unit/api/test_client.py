"""Python client against a real server: results, exceptions, retries, waits, and imports."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from syncd.client import ENDS, Client, NotLive, Release, TimedOut, connection
from syncd.errors import Conflict, Failed, Held, Invalid, NotFound, Refused, SyncdError, Unavailable
from syncd.plan.phases import RELEASE_ENDS
from syncd.plan.roles import Role
from syncd.reconcile.requests.operations import hold
from syncd.reconcile.views.verification import keep, verify
from syncd.targets.base import Depth

from tests.support.rooms import SDXL
from tests.unit.api.serving import Served

Answered = tuple[int, object, dict[str, str]]
ROOT = Path(__file__).parents[3]


@contextmanager
def client_of(served: Served, role: Role = Role.OPERATE) -> Iterator[Client]:
    with Client(served.url, served.token(role), trust_env=False) as client:
        yield client


@contextmanager
def answering(answers: Sequence[Answered]) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server that answers one after the other, the last one for ever; and the headers it was asked with."""
    left, asked = list(answers), []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(dict(self.headers))
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body, headers = left.pop(0) if len(left) > 1 else left[0]
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(connection, "ANSWER_WAIT_MAX_S", 0.02)


def document(**changes: object) -> dict[str, Any]:
    when = "2026-03-01T12:00:00+00:00"
    reported = {"release": "r-1", "model": "m", "version": "v1", "phase": "live", "rollback": False, "reason": ""}
    return reported | {"hint": "", "created_at": when, "updated_at": when} | changes


def problem(code: str) -> dict[str, str]:
    return {"code": code, "message": "why", "hint": "what to do"}


def test_it_publishes_and_waits_until_the_release_is_live(served: Served) -> None:
    at = served.site
    at.world.deliver(SDXL, "v1")
    seen: list[str] = []
    with client_of(served, Role.PUBLISH) as client:
        asked = client.publish(SDXL, "v1")
        assert (asked.model, asked.version, asked.phase, asked.has_ended) == (SDXL, "v1", "requested", False)

        def on_poll(release: Release) -> None:
            seen.append(release.phase)
            at.settle(patient=True)

        ended = client.wait(asked.id, timeout_s=60, poll_s=0.01, tell=on_poll)
        assert (seen, ended.phase, ended.has_ended) == (["requested", "live"], "live", True)
        assert ended.document["steps"]
        assert [release.id for release in client.releases(SDXL, limit=5)] == [asked.id]
        assert {model["model"] for model in client.models()} == set(at.context.topology.models())
        assert client.status(SDXL)["live"][0]["version"] == "v1"
        assert client.status()["in_flight"] == []
        assert client.verification(SDXL)["hint"] == f"Never verified: {SDXL}. Run syncd verify beside the record."
        keep(at.state, {SDXL: list(verify(at.context, SDXL, Depth.CHECKSUMS))}, is_quick=True)
        verified = client.verification(SDXL)
        assert (verified["good"], verified["quick"]) == (True, {SDXL: True})
        assert verified["findings"]
        assert client.verification()["verified_at"][SDXL] == verified["verified_at"][SDXL]
        assert client.health()["status"] == "bad", "no daemon works on this record"


def test_with_one_key_it_asks_once_and_without_one_it_asks_anew(served: Served) -> None:
    served.site.world.deliver(SDXL, "v1")
    with client_of(served) as client:
        first = client.publish(SDXL, "v1", key="run-1")
        served.site.settle(patient=True)
        assert client.publish(SDXL, "v1", key="run-1").id == first.id
        assert client.publish(SDXL, "v1").id != first.id


def test_it_rolls_back_and_an_undone_release_is_then_what_was_asked_for(served: Served) -> None:
    at = served.site
    with client_of(served) as client:
        for version in ("v1", "v2"):
            at.world.deliver(SDXL, version)
            client.publish(SDXL, version)
            at.settle(patient=True)
        back = client.rollback(SDXL, "black images")
        assert (back.version, back.rollback) == ("v1", True)
        at.settle(patient=True)
        assert client.wait(back.id, going_back=True).phase == "live"


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (lambda client: client.publish("nobody", "v1"), NotFound),
        (lambda client: client.publish(SDXL, "v9"), NotFound),
        (lambda client: client.publish(SDXL, "../v1"), Invalid),
        (lambda client: client.publish("lora", "v1"), Held),
        (lambda client: client.release("r-99"), NotFound),
        (lambda client: client.release("../../healthz"), NotFound),
        (lambda client: client.releases("nobody"), NotFound),
        (lambda client: client.status("nobody"), NotFound),
        (lambda client: client.rollback(SDXL), NotFound),
    ],
)
def test_a_refusal_is_the_error_that_the_command_would_end_with(
    served: Served, ask: Callable[[Client], object], error: type[SyncdError]
) -> None:
    served.site.world.deliver("lora", "v1")
    hold(served.site.requester, "lora", "manual")
    with client_of(served) as client, pytest.raises(error) as refused:
        ask(client)
    assert type(refused.value) is error
    assert refused.value.message


def test_a_token_that_is_wrong_or_may_not_is_refused(served: Served) -> None:
    with Client(served.url, "nothing", trust_env=False) as client, pytest.raises(Refused):
        client.status()
    with client_of(served, Role.READ) as client, pytest.raises(Refused, match="publish"):
        client.publish(SDXL, "v1")


def test_a_server_that_is_busy_is_asked_again_with_the_same_key() -> None:
    busy = (503, problem("unavailable"), {"Retry-After": "1"})
    with answering([busy, busy, (202, document(), {})]) as (url, asked), Client(url, "t", trust_env=False) as client:
        assert client.publish("m", "v1").id == "r-1"
    assert len({headers["Idempotency-Key"] for headers in asked}) == 1
    assert len(asked) == 3


def test_it_gives_up_and_a_rollback_is_never_sent_twice() -> None:
    with answering([(503, b"<html>", {})]) as (url, asked), Client(url, "t", trust_env=False) as client:
        with pytest.raises(Unavailable, match="503"):
            client.status()
        assert len(asked) == connection.TRIES
        with pytest.raises(Unavailable):
            client.rollback("m")
        assert len(asked) == connection.TRIES + 1


def test_no_server_at_the_address_is_unavailable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with Client(url, "t", trust_env=False) as client, pytest.raises(Unavailable, match="127"):
            client.status()


@pytest.mark.parametrize(
    ("code", "error"), [("conflict", Conflict), ("bug", Failed), ("busy", Unavailable), ("not known yet", Invalid)]
)
def test_every_code_is_an_error_of_ours_and_an_unknown_one_too(code: str, error: type[SyncdError]) -> None:
    with answering([(400, problem(code), {})]) as (url, _), Client(url, "t", trust_env=False) as client:
        with pytest.raises(error) as refused:
            client.status()
        assert (refused.value.message, refused.value.hint) == ("why", "what to do")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"releases": 7, "models": 7, "release": "r-1"}'])
def test_a_response_that_is_not_syncds_is_reported(body: bytes) -> None:
    with answering([(200, body, {})]) as (url, _), Client(url, "t", trust_env=False) as client:
        for ask in (
            *(client.releases, client.models, client.freeze, client.unfreeze),
            *(lambda: client.release("r-1"), lambda: client.publish("m", "v1"), lambda: client.approve("r-1")),
            *(lambda: client.hold("m"), lambda: client.unhold("m"), lambda: client.cancel("r-1")),
        ):
            with pytest.raises(Invalid, match="expected a response of syncd"):
                ask()


def test_a_redirect_is_not_followed_with_the_token() -> None:
    away = (302, b"", {"Location": "http://127.0.0.1:9/"})
    with (
        answering([away]) as (url, _),
        Client(url, "t", trust_env=False) as client,
        pytest.raises(Invalid, match="302"),
    ):
        client.status()


@pytest.mark.parametrize("phase", sorted(phase.value for phase in RELEASE_ENDS - {"live"}))
def test_a_release_that_ended_otherwise_is_not_live(phase: str) -> None:
    ended = document(phase=phase, reason="cut off", hint="fix it")
    with answering([(200, ended, {})]) as (url, _), Client(url, "t", trust_env=False) as client:
        with pytest.raises(NotLive, match="cut off") as reported:
            client.wait("r-1")
        assert reported.value.hint == "fix it"
        if phase == "undone":
            assert client.wait("r-1", going_back=True).phase == phase


def test_waiting_ends_in_time_and_a_restart_is_waited_for() -> None:
    down: Answered = (503, problem("unavailable"), {})
    placing: Answered = (200, document(phase="placing"), {})
    with (
        answering([placing]) as (url, _),
        Client(url, "t", trust_env=False) as late,
        pytest.raises(TimedOut) as reported,
    ):
        late.wait("r-1", timeout_s=0.05, poll_s=0.01)
    assert "placing" in reported.value.message
    restart = [placing, *[down] * (2 * connection.TRIES), (200, document(), {})]
    with answering(restart) as (url, _), Client(url, "t", trust_env=False) as client:
        assert client.wait("r-1", poll_s=0.01).phase == "live"
    with answering([down]) as (url, _), Client(url, "t", trust_env=False) as client, pytest.raises(Unavailable):
        client.wait("r-1", timeout_s=0.05, poll_s=0.01)


@pytest.mark.parametrize("server", ["", "syncd.example.com", "ftp://x", "http://x:port"])
def test_a_server_that_is_no_url_is_refused(server: str) -> None:
    with pytest.raises(Invalid):
        Client(server, "t")


@pytest.mark.parametrize("token", ["a\nb", "é"])
def test_a_token_that_cannot_be_one_is_refused(token: str) -> None:
    with pytest.raises(Invalid, match="token"):
        Client("http://127.0.0.1", token)


def test_one_import_brings_the_client_and_nothing_of_the_server() -> None:
    code = "import sys; from syncd.client import Client; print(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    names = {name.partition(".")[0] for name in done.stdout.split()}
    heavy = {"sqlalchemy", "starlette", "uvicorn", "pydantic", "structlog", "dbos", "typer", "alembic", "oss2"}
    assert not names & heavy
    ours = {name for name in done.stdout.split() if name.startswith("syncd") and not name.startswith("syncd.client")}
    assert ours == {"syncd", "syncd.errors"}


def test_the_ends_it_knows_are_the_programs() -> None:
    assert {phase.value for phase in RELEASE_ENDS} == ENDS
