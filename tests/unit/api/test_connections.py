"""Hostile connections: without a token they take nothing from others, whatever they send or leave unread."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from syncd.api.limits import bodies, connections
from syncd.plan.roles import Role

from tests.support.rooms import Site
from tests.unit.api.deliveries import genuine, hook
from tests.unit.api.serving import LIMIT_S, Served, problem, serving
from tests.unit.api.test_hooks import send, waiting
from tests.unit.api.test_server import connected, limited_wait

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
GITHUB = next(each for each in genuine() if each.kind == "github")
HARBOR = next(each for each in genuine() if each.name == "harbor push")
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
DOCUMENT = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
SIGNED = b"POST /hooks/models HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: sha256=" + b"0" * 64 + b"\r\n"


@contextmanager
def hostile(served: Served, count: int, sent: bytes) -> Iterator[list[socket.socket]]:
    """Connections that send and never read. The server may close them meanwhile."""
    with ExitStack() as stack:
        held = []
        for _ in range(count):
            each = stack.enter_context(connected(served))
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            each.setblocking(False)
            with suppress(BlockingIOError, ConnectionError):
                each.send(sent)
            held.append(each)
        yield held


def answers(served: Served, sent: bytes) -> bytes:
    """All that is answered to some bytes until the server closes."""
    with connected(served) as raw:
        raw.sendall(sent)
        found = b""
        while piece := raw.recv(65536):
            found += piece
    return found


ATTACKS = {
    "idle": b"",
    "half a head": b"GET /healthz HTTP/1.1\r\nX-",
    "pipelined and never read": DOCUMENT * 200,
    "pipelined health": HEALTH * 500,
    "an unfinished body of a webhook": SIGNED + b"Content-Length: 1000000\r\n\r\n" + b"x" * 30_000,
    "an unfinished body in chunks": SIGNED + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 2000,
    "an unfinished body without a signature": b"POST /hooks/models HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
    "an unfinished body without a token": b"POST /v1/releases HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_number_of_hostile_connections_takes_health_deliveries_or_the_api_away(
    at: Site, tmp_path: Path, attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 20)
    monkeypatch.setattr(connections, "PROVEN_MAX", 10)
    monkeypatch.setattr(bodies, "BODIES_MAX_BYTES", 200_000)
    with serving(at, {"models": hook(GITHUB, tmp_path)}, GITHUB.now_s) as served, hostile(served, 60, ATTACKS[attack]):
        assert served.get("/healthz", None).status_code == 200
        assert send(served, GITHUB).json() == {"accepted": 1, "new": 1}
        assert served.get("/v1/status").status_code == 200
    assert len(waiting(at.state)) == 1


def test_one_address_has_its_share_and_takes_it_from_itself(at: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "ADDRESS_MAX", 2)
    with serving(at) as served, hostile(served, 3, b"") as (first, *_):
        first.setblocking(True)
        assert first.recv(1) == b""
        assert [(each.reason, each.address) for each in served.refused()] == [("too many connections", "127.0.0.1")]


def test_a_stream_of_a_tokens_owner_outlives_any_number_of_newcomers(at: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 5)
    monkeypatch.setattr("syncd.api.endpoints.stream.KEEPALIVE_EVERY_S", 0.5)
    with serving(at) as served, connected(served) as raw:
        head = f"GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.token(Role.READ)}\r\n\r\n"
        raw.sendall(head.encode())
        found = raw.recv(4096)
        with hostile(served, 20, b""):
            while b": keep-alive" not in found:
                found += raw.recv(4096)


def test_more_proven_requests_than_there_is_place_for_are_refused_with_a_time_to_retry(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "PROVEN_MAX", 0)
    answer = served.get("/v1/status")
    assert problem(answer) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    assert served.get("/healthz", None).status_code == 200


def test_of_pipelined_requests_one_is_answered_and_the_connection_closed(served: Served) -> None:
    found = answers(served, DOCUMENT * 50)
    assert found.count(b"HTTP/1.1 200") == 1
    assert b"connection: close" in found.lower()


def test_requests_one_after_the_other_share_a_connection(served: Served) -> None:
    with connected(served) as raw:
        for _ in range(20):
            raw.sendall(HEALTH)
            found = b""
            while not found.endswith(b'{"status":"ok"}'):
                found += raw.recv(4096)
            assert found.startswith(b"HTTP/1.1 200")


def test_a_client_that_does_not_read_its_answer_is_not_waited_for(at: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "WRITE_S", 0.2)
    monkeypatch.setattr(connections, "HEAD_S", 60.0)
    monkeypatch.setattr("syncd.api.endpoints.probes._DOCUMENT", b"x" * (4 << 20))
    with serving(at) as served, hostile(served, 1, DOCUMENT) as (greedy,):
        greedy.setblocking(True)
        greedy.settimeout(LIMIT_S)
        limited_wait(lambda: served.connection_count() == 0)
        found = 0
        with pytest.raises(ConnectionResetError):
            while piece := greedy.recv(65536):
                found += len(piece)
            raise ConnectionResetError
        assert found < 4 << 20


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", b"0\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("path", [b"/hooks/models", b"/v1/releases", b"/healthz", b"/nowhere"])
def test_a_length_and_chunks_together_are_refused_and_the_connection_closed(
    served: Served, path: bytes, head: bytes, body: bytes
) -> None:
    found = answers(served, b"POST " + path + b" HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n" + body + HEALTH)
    assert found.count(b"HTTP/1.1 ") == 1
    assert found.startswith(b"HTTP/1.1 400")
    assert json.loads(found.partition(b"\r\n\r\n")[2])["code"] == "invalid"


def test_a_body_in_thousands_of_chunks_is_refused(at: Site, tmp_path: Path) -> None:
    with serving(at, {"models": hook(GITHUB, tmp_path)}, GITHUB.now_s) as served:
        sent = SIGNED + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * (connections.CHUNKS_MAX + 1)
        assert answers(served, sent).startswith(b"HTTP/1.1 400")


def test_of_too_many_unfinished_bodies_the_largest_of_the_greediest_is_dropped(
    at: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODIES_MAX_BYTES", 10_000)
    long = SIGNED + b"Content-Length: 20000\r\n\r\n" + b"x" * 9_000
    with serving(at, {"models": hook(GITHUB, tmp_path)}, GITHUB.now_s) as served, connected(served) as raw:
        raw.sendall(long)
        assert send(served, GITHUB).status_code == 202
        raw.sendall(b"x" * 9_000)
        assert b" 503 " in raw.recv(4096)


@pytest.mark.parametrize(
    ("headers", "is_read"),
    [
        ({}, False),
        ({"X-Hub-Signature-256": "sha256=" + "0" * 63}, False),
        ({"X-Hub-Signature-256": "sha256=" + "0" * 64}, True),
        ({"webhook-id": "1", "webhook-timestamp": "1"}, False),
        ({"webhook-id": "1", "webhook-timestamp": "x", "webhook-signature": "v1,AA="}, False),
        ({"webhook-id": "1", "webhook-timestamp": "1", "webhook-signature": "v1,AA= v1,BB="}, True),
        ({"X-MLflow-Delivery-Id": "1", "X-MLflow-Timestamp": "1", "X-MLflow-Signature": "v1,AA="}, True),
        ({"Authorization": "wrong"}, False),
        ({"X-Webhook-Secret": "wrong"}, False),
    ],
)
@pytest.mark.parametrize("name", ["models", "harbor", "nobody"])
def test_a_body_is_read_only_for_a_signature_and_of_every_name_alike(
    at: Site,
    tmp_path: Path,
    name: str,
    headers: dict[str, str],
    is_read: bool,  # noqa: FBT001 -- a case
) -> None:
    hooks = {"models": hook(GITHUB, tmp_path), "harbor": hook(HARBOR, tmp_path, name="harbor")}
    lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
    expecting = f"POST /hooks/{name} HTTP/1.1\r\nHost: x\r\n{lines}Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    with serving(at, hooks, GITHUB.now_s) as served, connected(served) as raw:
        raw.sendall(expecting.encode())
        first = raw.recv(4096)
        assert first.startswith(b"HTTP/1.1 100" if is_read else b"HTTP/1.1 401")
        if is_read:
            raw.sendall(b"{}")
            assert raw.recv(4096).startswith(b"HTTP/1.1 401")


def test_callers_with_wrong_tokens_share_one_look_at_the_record(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncd.api.dependencies.WAITING_MAX", 0)
    good = served.token(Role.READ)
    wrong = f"syncd_0123456789ab_{'x' * 43}"
    with ThreadPoolExecutor(40) as pool:
        answers = list(
            pool.map(
                lambda n: (
                    served.call(
                        "HEAD", "/v1/events", headers={"Authorization": f"Bearer {good if n % 10 == 0 else wrong}"}
                    ).status_code
                ),
                range(80),
            )
        )
    assert answers == [200 if n % 10 == 0 else 401 for n in range(80)]
