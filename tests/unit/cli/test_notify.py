"""`syncd notify test` and `syncd notifications`: what a receiver answers, and what was given up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from syncd.api.server import ApiServer
from syncd.cli.commands.run import _beside
from syncd.config import load
from syncd.daemon.health import Health
from syncd.daemon.notification_service import NotificationService
from syncd.state.access import notifications
from syncd.state.access.notifications import DeadLetter
from syncd.state.state import State
from syncd.wiring import context_of

from tests.unit.cli.calling import Calling

KEY = "a-key-in-the-address"


@contextmanager
def answering(text: str) -> Iterator[str]:
    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_request(self, code: object = "-", size: object = "-") -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/send?key={KEY}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(("answer", "code"), [('{"errcode":0}', 0), ('{"errcode":93000,"errmsg":"invalid"}', 10)])
def test_a_test_notification_ends_as_the_receiver_answers(answer: str, code: int, call: Calling) -> None:
    call.config.write_text(f'{call.config.read_text()}\n[notify.chat]\nkind = "wecom"\nurl = {{ env = "CHAT_URL" }}\n')
    with answering(answer) as url:
        call.patch.setenv("CHAT_URL", url)
        reported = call("notify", "test", "chat")
    assert reported.code == code
    assert KEY not in reported.out + reported.err
    assert ("taken" in reported.out) is (code == 0)
    assert call("notify", "test", "other").code == 3


def test_what_was_given_up_is_shown(call: Calling) -> None:
    state = State(f"sqlite:///{call.database}")
    with state.write() as conn:
        now = state.now(conn)
        notifications.begin(conn, "chat", now)
        notifications.give_up(conn, DeadLetter("chat", 7, "sdxl@v1: release r-1 was undone", "no answer", now))
    state.close()
    document = call("notifications", "-o", "json").document
    assert [(each["name"], each["event_id"]) for each in document["notifiers"]] == [("chat", 7)]
    assert [each["text"] for each in document["dead"]] == ["sdxl@v1: release r-1 was undone"]
    assert "GIVEN UP BY" in call("notifications").out


@pytest.mark.parametrize("listen", ["", "127.0.0.1:0"])
def test_a_daemon_sends_notifications_with_the_api_and_without(listen: str, call: Calling) -> None:
    text = f'[notify.chat]\nkind = "wecom"\nurl = {{ env = "CHAT_URL" }}\n[api]\nlisten = "{listen}"\n'
    call.config.write_text(f"{call.config.read_text()}\n{text}")
    config = load(call.config, {"CHAT_URL": "http://127.0.0.1:9/", "CALLING_SECRET": "x"})
    state = State(f"sqlite:///{call.database}")
    beside = _beside(config, context_of(config, state), Health([], 1.0))
    state.close()
    assert [type(each) for each in beside] == [NotificationService, *([ApiServer] if listen else [])]
