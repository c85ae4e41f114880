"""Upload helper: it completes chunks under way, and records what a killed process no longer can."""

from __future__ import annotations

import io
import ipaddress
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from syncd.artifact.digest import Digest
from syncd.errors import Refused, Unavailable
from syncd.http.client import LOCATION, HttpClient, HttpRequest, HttpSettings
from syncd.oci.upload_helper import ChunkOrder, serve, wait_while_under_way
from syncd.oci.upload_helper_pool import UploadHelperPool
from syncd.state.content.layers import SqlUploadJournal
from syncd.state.state import State

from tests.emulators.web import Reply, Request, Web, as_json

COURIER = (sys.executable, "-m", "syncd.daemon.upload_helper")
RECIPE = Digest("11" * 32)


def accepts(request: Request) -> Reply:
    """A registry whose addresses are valid for one offset: the next one is in the answer."""
    return Reply(202, {"Location": f"{request.path}?_state={len(request.body)}", "Range": f"0-{len(request.body) - 1}"})


@pytest.fixture
def web() -> Iterator[Web]:
    with Web(accepts) as made:
        yield made


def ordered(web: Web, body: bytes, **changed: Any) -> bytes:
    order = ChunkOrder("PATCH", f"{web.origin}/u", [("Host", "h"), ("Content-Length", str(len(body)))], len(body), 10.0,
                  f"place of {web.origin}", "record")  # fmt: skip
    return json.dumps(asdict(replace(order, **changed))).encode() + b"\n" + body


class Held:
    """A fault that holds every request back until it is released."""

    def __init__(self) -> None:
        self.arrived, self.let_go = threading.Event(), threading.Event()

    def __call__(self, request: Request) -> None:
        self.arrived.set()
        assert self.let_go.wait(30)


class Counted:
    """A wait that takes no time; cancelled after so many calls."""

    def __init__(self, cancelled_after: int = 10_000) -> None:
        self.waits: list[float] = []
        self._cancelled_after = cancelled_after

    def __call__(self, seconds: float) -> bool:
        self.waits.append(seconds)
        return len(self.waits) >= self._cancelled_after


class Pipes:
    """Input, output, and records of a helper. The end of `given` is the death of the parent."""

    def __init__(self, given: bytes) -> None:
        self.noted: list[tuple[str, str, str]] = []
        self.out = io.BytesIO()
        serve(io.BytesIO(given), self.out, lambda *answered: self.noted.append(answered))

    @property
    def answered(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.getvalue().splitlines()]


def test_an_answer_is_returned_unchanged(web: Web) -> None:
    web.faults.append(lambda request: as_json({"errors": []}, 429) if request.body == b"two" else None)
    pipes = Pipes(ordered(web, b"one") + ordered(web, b"two") + b"\n")
    assert [answered["status"] for answered in pipes.answered] == [202, 429]
    assert dict(pipes.answered[0]["headers"])["Location"] == "/u?_state=3"
    assert [request.body for request in web.seen] == [b"one", b"two"]
    assert pipes.noted == []


def test_a_parent_that_dies_after_an_answer_has_it_recorded(web: Web) -> None:
    pipes = Pipes(ordered(web, b"one") + ordered(web, b"three"))
    assert pipes.noted == [("record", f"place of {web.origin}", f"{web.origin}/u?_state=5")]


def test_a_parent_that_dies_within_an_order_has_the_previous_one_recorded_and_nothing_sent(web: Web) -> None:
    for cut in (20, len(ordered(web, b"three")) - 2):
        web.seen.clear()
        pipes = Pipes(ordered(web, b"one") + ordered(web, b"three")[:cut])
        assert [request.body for request in web.seen] == [b"one"]
        assert [now for _, _, now in pipes.noted] == [f"{web.origin}/u?_state=3"]


def test_a_parent_that_dies_after_a_refusal_has_nothing_recorded(web: Web) -> None:
    web.faults.append(lambda request: as_json({}, 500) if request.body == b"two" else None)
    assert Pipes(ordered(web, b"one") + ordered(web, b"two")).noted == []


def test_a_parent_that_is_dead_at_the_answer_has_it_recorded(web: Web) -> None:
    noted: list[tuple[str, str, str]] = []
    reading, writing = os.pipe()
    os.close(reading)
    with io.FileIO(writing, "w") as deaf:
        serve(io.BytesIO(ordered(web, b"one") + b"\n"), deaf, lambda *answered: noted.append(answered))
    assert [now for _, _, now in noted] == [f"{web.origin}/u?_state=3"]


def test_a_registry_that_is_gone_is_an_answer_too_and_the_next_order_is_a_new_connection(web: Web) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        gone = f"http://127.0.0.1:{unused.getsockname()[1]}/u"
    pipes = Pipes(ordered(web, b"one", url=gone) + ordered(web, b"two") + b"\n")
    assert "ConnectionRefusedError" in pipes.answered[0]["error"]
    assert pipes.answered[1]["status"] == 202


def test_the_next_process_waits_for_the_previous_helper(web: Web) -> None:
    """The wait ends with the helper, including its write to the record."""
    held, noting, steps = Held(), threading.Event(), list[str]()
    web.faults.append(held)

    def note(*_: str) -> None:
        steps.append("noted")
        noting.set()

    place = f"place of {web.origin}"
    given = io.BytesIO(ordered(web, b"one"))
    helper = threading.Thread(target=serve, args=(given, io.BytesIO(), note))
    helper.start()
    assert held.arrived.wait(30)

    def wait(seconds: float) -> bool:
        held.let_go.set()
        noting.wait(seconds)
        return False

    wait_while_under_way(place, wait, 30)
    steps.append("went on")
    helper.join()
    assert steps == ["noted", "went on"]


def test_there_is_no_wait_without_an_upload_under_way_or_past_the_limit(web: Web) -> None:
    nothing, enough, cancelled = Counted(), Counted(), Counted(1)
    wait_while_under_way("nothing", nothing, 30)
    assert nothing.waits == []
    held = Held()
    web.faults.append(held)
    given = io.BytesIO(ordered(web, b"one"))
    helper = threading.Thread(target=serve, args=(given, io.BytesIO(), lambda *_: None))
    helper.start()
    assert held.arrived.wait(30)
    wait_while_under_way(f"place of {web.origin}", enough, 1.0)
    assert sum(enough.waits) == pytest.approx(1.0, abs=0.1)
    wait_while_under_way(f"place of {web.origin}", cancelled, 1.0)
    assert len(cancelled.waits) == 1
    held.let_go.set()
    helper.join()


def asked(http: HttpClient, web: Web, body: bytes = b"x" * 3_000_000) -> Any:
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(len(body))}
    return http.fetch_once(
        HttpRequest(f"{web.origin}/u?_state=0", headers, "PATCH", "", lambda: (body,), outlives=True)
    )


@pytest.fixture
def upload_helpers() -> Iterator[UploadHelperPool]:
    made = UploadHelperPool(COURIER, "record")
    yield made
    made.close()


def test_a_request_that_is_to_outlive_us_arrives_as_any_other(web: Web, upload_helpers: UploadHelperPool) -> None:
    http = HttpClient(HttpSettings(web.origin, upload_helpers=upload_helpers))
    answer = asked(http, web)
    assert (answer.status, answer.headers["range"]) == (202, "0-2999999")
    plain = HttpClient(HttpSettings(web.origin))
    asked(plain, web)
    one, other = web.seen
    assert (one.method, one.target, one.body) == (other.method, other.target, other.body)
    assert one.headers == {**other.headers}


def test_refusals_are_the_same_as_without_a_helper(web: Web, upload_helpers: UploadHelperPool) -> None:
    http = HttpClient(HttpSettings(web.origin, upload_helpers=upload_helpers))
    web.faults.append(lambda _: Reply(503, {"Retry-After": "7"}))
    with pytest.raises(Unavailable) as refused:
        asked(http, web)
    assert refused.value.retry_after_s == 7.0
    web.stop()
    with pytest.raises(Unavailable, match=r"ConnectionRefused|RemoteDisconnected|Reset"):
        asked(http, web)


def test_one_helper_serves_one_after_another_and_goes_when_there_is_nothing_to_send(web: Web) -> None:
    upload_helpers = UploadHelperPool(COURIER, "record")
    http = HttpClient(HttpSettings(web.origin, upload_helpers=upload_helpers))
    asked(http, web)
    (process,) = upload_helpers._idle
    asked(http, web)
    assert upload_helpers._idle == [process]
    http.close_helpers()
    assert (upload_helpers._idle, process._process.returncode) == ([], 0)
    assert asked(http, web).status == 202
    http.close_helpers()


def test_a_helper_that_is_killed_itself_is_a_connection_that_broke(web: Web, upload_helpers: UploadHelperPool) -> None:
    http = HttpClient(HttpSettings(web.origin, upload_helpers=upload_helpers))
    asked(http, web)
    (process,) = upload_helpers._idle

    def kill(_: Request) -> None:
        os.kill(process._process.pid, signal.SIGKILL)

    web.faults.append(kill)
    with pytest.raises(Unavailable, match="the upload helper is gone"):
        asked(http, web)
    web.faults.clear()
    assert asked(http, web).status == 202


def test_a_helper_that_cannot_start_is_retried_later(web: Web) -> None:
    http = HttpClient(HttpSettings(web.origin, upload_helpers=UploadHelperPool(("/nonexistent/helper",), "record")))
    with pytest.raises(Unavailable, match="cannot start an upload helper"):
        asked(http, web)
    assert web.seen == []


def test_signals_to_a_service_do_not_stop_its_helpers(web: Web, upload_helpers: UploadHelperPool) -> None:
    http = HttpClient(HttpSettings(web.origin, upload_helpers=upload_helpers))
    asked(http, web)
    (process,) = upload_helpers._idle
    for each in (signal.SIGTERM, signal.SIGINT):
        os.kill(process._process.pid, each)
    assert asked(http, web).status == 202
    assert upload_helpers._idle == [process]


def test_an_orphaned_helper_records_where_an_upload_resumes(web: Web, state: State) -> None:
    notes = SqlUploadJournal(state, "here")
    notes.opened(RECIPE, "was")
    record = state.url.render_as_string(hide_password=False)
    order = ordered(web, b"one", place="was", record=record)
    done = subprocess.run(COURIER, input=order, stdout=subprocess.PIPE, check=True)
    assert json.loads(done.stdout)["status"] == 202
    assert notes.find(RECIPE) == f"{web.origin}/u?_state=3"


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[tuple[Web, Path]]:
    """A server whose certificate is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "here")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    plain = serialization.NoEncryption()
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (tmp_path / "both.pem").write_bytes(secret + certificate)
    (tmp_path / "trusted.pem").write_bytes(certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    web = Web(accepts)
    web._server.socket = context.wrap_socket(web._server.socket, server_side=True)
    with web:
        yield web, tmp_path / "trusted.pem"


def test_a_certificate_is_trusted_or_refused_as_it_is_without_a_helper(
    secured: tuple[Web, Path], upload_helpers: UploadHelperPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    web, trusted = secured
    origin = web.origin.replace("http:", "https:")
    http = HttpClient(HttpSettings(origin, upload_helpers=upload_helpers))
    ask = HttpRequest(f"{origin}/u", {"Content-Length": "3"}, "PATCH", "", lambda: (b"one",), outlives=True)
    with pytest.raises(Refused, match="CERTIFICATE_VERIFY_FAILED"):
        http.fetch_once(ask)
    http.close_helpers()
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    assert http.fetch_once(ask).status == 202


def test_requests_to_another_host_use_no_helper(web: Web) -> None:
    """Its address is checked again at the connection, which a helper cannot report."""

    class Never:
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            raise AssertionError(request.extensions[LOCATION])

        def close(self) -> None:
            pass

    http = HttpClient(HttpSettings("http://127.0.0.1:1", upload_helpers=Never()))
    assert asked(http, web).status == 202
