"""HTTP server in the daemon: it starts and stops with the process, and limits its load."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pytest
from syncd.api import dependencies as desk_module
from syncd.api.dependencies import Dependencies as ApiSite
from syncd.api.server import ApiServer, api_of
from syncd.config import ApiSettings
from syncd.daemon.health import Health
from syncd.daemon.process import Process
from syncd.engine.memory import MemoryEngine
from syncd.errors import Invalid
from syncd.plan.roles import Role
from syncd.state.access import deliveries, tokens
from syncd.state.records import Delivery
from syncd.state.releases import releases

from tests.support.rooms import SDXL, Site, World, site
from tests.unit.api.deliveries import config_of
from tests.unit.api.serving import LIMIT_S, Served, problem, serving
from tests.unit.daemon.test_process import POLLING, limited, running

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
RARELY = replace(POLLING, polls=(replace(POLLING.polls[0], every_s=3600.0),))


def api(at: Site, listen: str = "127.0.0.1:0", proxies: tuple[str, ...] = ()) -> ApiServer:
    context = at.context
    return ApiServer(
        ApiSite(context, {}, Health([], 1.0), context.wake.set),
        listen,
        proxies,
    )


DISK = ("record", "disk")


def test_a_process_serves_it_from_its_start_to_its_end(world: World, at: Site) -> None:
    context = site(world, at.state, engine=MemoryEngine()).context
    process = Process(context, POLLING, sole=True)
    config = replace(config_of({}), api=ApiSettings(listen="127.0.0.1:0"))
    server = api_of(config, context, process.health)
    world.deliver(SDXL, "v1")

    def is_live() -> bool:
        with at.state.read() as conn:
            latest = releases.latest(conn, SDXL)
        if latest is None or latest.phase != "live":
            return False
        ready = httpx.get(f"{server.address}/readyz", trust_env=False).json()
        states = {(each["section"], each["name"]): each["state"] for each in ready.pop("components")}
        assert ready == {"status": "ok"}
        assert states.pop(("registries", "models")) == "good"
        others = {("targets", "hz"), ("targets", "sg"), ("runtimes", "hangzhou"), ("runtimes", "singapore"), DISK}
        assert states.keys() == others
        assert set(states.values()) <= {"good", "unknown"}, "unknown until they are checked"
        assert httpx.get(f"{server.address}/healthz", trust_env=False).json() == {"status": "ok"}
        return True

    process.run(limited(is_live), beside=[server])
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.address}/healthz", trust_env=False)


def test_a_webhooks_word_brings_a_version_that_no_poll_would_have_found_for_an_hour(world: World, at: Site) -> None:
    context = site(world, at.state, engine=MemoryEngine()).context
    process = Process(context, RARELY, sole=True)
    with running(process):
        limited_wait(lambda: process.health.unpolled() == ())
        world.deliver(SDXL, "v1")
        with at.state.write() as conn:
            deliveries.record(conn, [Delivery("models", "1", "models", "sdxl v1")], at.state.now(conn))

        def asked() -> bool:
            with at.state.read() as conn:
                return releases.latest(conn, SDXL) is not None

        limited_wait(asked)


def limited_wait(done: Callable[[], bool]) -> None:
    check, pause = limited(done), threading.Event()
    while not check():
        pause.wait(0.02)


def test_an_address_in_use_or_invalid_is_reported_and_nothing_is_left(world: World, at: Site) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Invalid, match=r"api\.listen"):
            api(at, f"127.0.0.1:{taken.getsockname()[1]}").start()
    with pytest.raises(Invalid, match=r"api\.listen"):
        api(at, "no.such.host.invalid:1").start()


def test_a_process_whose_service_cannot_start_does_no_work(world: World, at: Site) -> None:
    world.deliver(SDXL, "v1")
    process = Process(site(world, at.state, engine=MemoryEngine()).context, POLLING, sole=True)
    with pytest.raises(Invalid):
        process.run(beside=[api(at), api(at, "no.such.host.invalid:1")])
    with at.state.read() as conn:
        assert releases.latest(conn, SDXL) is None


def test_stopping_again_and_stopping_what_never_started_is_success(at: Site) -> None:
    server = api(at)
    server.stop()
    server.start()
    server.stop()
    server.stop()


def test_the_client_address_comes_from_a_trusted_proxy_only(world: World, at: Site) -> None:
    world.deliver(SDXL, "v1")
    world.deliver(SDXL, "v2")
    with at.state.write() as conn:
        token = tokens.create(conn, "ci", Role.PUBLISH, "ann@desk", at.state.now(conn)).reveal()
    for proxies, ref, address in (((), "v1", "127.0.0.1"), (("127.0.0.1",), "v2", "10.9.8.7")):
        server = api(at, proxies=proxies)
        server.start()
        try:
            headers = {"X-Forwarded-For": "10.9.8.7", "Authorization": f"Bearer {token}"}
            body = {"model": SDXL, "ref": ref}
            answer = httpx.post(f"{server.address}/v1/releases", json=body, headers=headers, trust_env=False)
            assert answer.json()["requested_by"] == f"ci@{address}"
        finally:
            server.stop()


def test_requests_over_the_limit_are_refused_with_a_time_to_retry(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_module, "WAITING_MAX", 0)
    served.token(Role.READ)
    with served.state.write(), ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _n: served.get("/v1/models"), range(60)))
    codes = {answer.status_code for answer in answers}
    assert codes <= {200, 503}
    for answer in answers:
        if answer.status_code == 503:
            assert problem(answer) == (503, "unavailable")
            assert answer.headers["retry-after"] == "1"


def connected(served: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2])), timeout=LIMIT_S)


def test_a_body_that_does_not_come_is_not_waited_for_long(at: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.api.responses.BODY_TIMEOUT_S", 0.1)
    with serving(at) as served, socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2]))) as raw:
        token = served.token(Role.PUBLISH)
        raw.settimeout(LIMIT_S)
        lines = (
            "POST /v1/releases HTTP/1.1",
            "Host: x",
            "Content-Length: 9",
            f"Authorization: Bearer {token}",
            "",
            "{",
        )
        raw.sendall("\r\n".join(lines).encode())
        assert b" 408 " in raw.recv(4096)


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-", b"\r\n"])
@pytest.mark.parametrize("asked_before", [False, True])
def test_a_request_whose_head_does_not_come_is_not_waited_for(
    at: Site,
    monkeypatch: pytest.MonkeyPatch,
    sent: bytes,
    asked_before: bool,  # noqa: FBT001 -- a case
) -> None:
    monkeypatch.setattr("syncd.api.limits.connections.HEAD_S", 0.1)
    monkeypatch.setattr("syncd.api.server.KEEP_ALIVE_S", 0)
    with serving(at) as served, connected(served) as raw:
        if asked_before:
            raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert raw.recv(4096).startswith(b"HTTP/1.1 200")
        raw.sendall(sent)
        while raw.recv(4096):
            pass


def test_a_request_whose_head_has_come_is_not_hurried(at: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.api.limits.connections.HEAD_S", 0.1)
    monkeypatch.setattr("syncd.api.endpoints.stream.KEEPALIVE_EVERY_S", 0.5)
    with serving(at) as served, connected(served) as raw:
        head = f"GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.token(Role.READ)}\r\n\r\n"
        raw.sendall(head.encode())
        reported = b""
        while reported.count(b": keep-alive") < 2:
            reported += raw.recv(4096)


def test_a_bug_is_reported_without_its_trace(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_given: object) -> object:
        raise KeyError("a secret place")

    monkeypatch.setattr("syncd.api.endpoints.reads.overview.models", broken)
    with caplog.at_level(logging.CRITICAL, logger="uvicorn.error"):
        answer = served.get("/v1/models")
    assert problem(answer) == (500, "bug")
    assert "secret place" not in answer.text
