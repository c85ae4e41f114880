"""Notifications: real receivers check each format and signature; none is lost, the order is kept, a refusal is seen."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
from syncd.daemon.notification_service import NotificationService
from syncd.errors import Refused, Unavailable
from syncd.notify.notice import KINDS, Notice, Severity
from syncd.notify.senders import Sender
from syncd.plan.phases import ReleasePhase
from syncd.reconcile.notifications import FAILURES_MAX, Notifier, deliver
from syncd.reconcile.requests.operations import hold, publish
from syncd.secret import Secret
from syncd.state.access import notifications
from syncd.state.releases import events
from syncd.state.state import State

from tests.support.rooms import SDXL, Site

SECRET: Final = "a-secret-of-thirty-two-characters"


@dataclass
class Received:
    """One request, as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """A server that takes notifications, and answers as it is told to."""

    url: str = ""
    got: list[Received] = field(default_factory=list)
    answer: Callable[[Received], tuple[int, str]] = lambda _: (200, "ok")

    def texts(self) -> list[str]:
        return [each.json["data"]["text"] for each in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received = Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            found.got.append(received)
            status, text = found.answer(received)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_request(self, code: object = "-", size: object = "-") -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}/hook?key=k"
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


def signed(key: bytes, message: bytes) -> str:
    return base64.b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode()


def webhook_is_signed(got: Received) -> bool:
    message = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode() + got.body
    event = got.json
    assert {"specversion", "id", "source", "type"} <= set(event)
    assert event["specversion"] == "1.0"
    assert got.headers["content-type"] == "application/cloudevents+json"
    return got.headers["webhook-signature"] == f"v1,{signed(SECRET.encode(), message)}"


def dingtalk_is_signed(got: Received) -> bool:
    query = parse_qs(urlsplit(got.path).query)
    (at,), (sign,) = query["timestamp"], query["sign"]
    assert query["key"] == ["k"]
    assert got.json["msgtype"] == "text"
    return abs(time.time() - int(at) / 1000) < 3600 and sign == signed(SECRET.encode(), f"{at}\n{SECRET}".encode())


def feishu_is_signed(got: Received) -> bool:
    body = got.json
    assert (body["msg_type"], bool(body["content"]["text"])) == ("text", True)
    return bool(body["sign"] == signed(f"{body['timestamp']}\n{SECRET}".encode(), b""))


def wecom_is_known(got: Received) -> bool:
    return got.json["msgtype"] == "text" and parse_qs(urlsplit(got.path).query)["key"] == ["k"]


def slack_is_text(got: Received) -> bool:
    return bool(got.json["text"])


# As each service answers: taken, and refused by a status of 200.
SERVICES: Final[dict[str, tuple[Callable[[Received], bool], str, str]]] = {
    "webhook": (webhook_is_signed, "", '{"code": 1}'),
    "slack": (slack_is_text, "ok", '{"code": 1}'),
    "dingtalk": (dingtalk_is_signed, '{"errcode":0,"errmsg":"ok"}', '{"errcode":310000,"errmsg":"sign not match"}'),
    "feishu": (feishu_is_signed, '{"code":0,"msg":"success"}', '{"code":19021,"msg":"sign match fail"}'),
    "wecom": (wecom_is_known, '{"errcode":0,"errmsg":"ok"}', '{"errcode":93000,"errmsg":"invalid webhook url"}'),
}


def sender(kind: str, receiver: Receiver, secret: str = SECRET) -> Sender:
    return Sender("on-call", kind, Secret(receiver.url), Secret(secret))


def notifier(receiver: Receiver, **changes: Any) -> Notifier:
    given: dict[str, Any] = {"sender": sender("webhook", receiver), "least": Severity.INFO}
    return Notifier("on-call", **(given | changes))


def told(state: State, *texts: str, kind: str = "hold.put", model: str = SDXL) -> None:
    """Events, one in each transaction."""
    for text in texts:
        with state.write() as conn:
            detail = {"model": model, "why": text}
            events.append(conn, kind, now=state.now(conn), subject=model, detail=detail)


@pytest.fixture
def begun(here: Site, receiver: Receiver) -> Site:
    """A site whose notifier has begun."""
    assert deliver(here.state, notifier(receiver)) == 0
    return here


@pytest.mark.parametrize("kind", SERVICES)
def test_each_service_gets_its_format_signed_and_a_refusal_with_200_is_none(
    kind: str, begun: Site, receiver: Receiver
) -> None:
    is_right, taken, refusal = SERVICES[kind]
    mine = notifier(receiver, sender=sender(kind, receiver))
    hold(begun.requester, SDXL, "black images")
    receiver.answer = lambda got: (200, taken if is_right(got) else refusal)
    assert deliver(begun.state, mine) == 1
    assert "black images" in receiver.got[-1].body.decode()
    told(begun.state, "again")
    receiver.answer = lambda _: (200, refusal)
    assert deliver(begun.state, mine) == 0
    with begun.state.read() as conn:
        (progress,) = notifications.all_progress(conn)
    assert (progress.failures, "refused it in its answer" in progress.reason) == (1, True)
    assert SECRET not in progress.reason


@pytest.mark.parametrize("kind", ["dingtalk", "feishu", "webhook"])
def test_a_wrong_secret_is_seen_by_the_receiver(kind: str, begun: Site, receiver: Receiver) -> None:
    is_right, taken, refusal = SERVICES[kind]
    receiver.answer = lambda got: (200, taken if is_right(got) else refusal)
    hold(begun.requester, SDXL, "black images")
    wrong = notifier(receiver, sender=sender(kind, receiver, "another-secret"))
    assert deliver(begun.state, wrong) == 0


def test_a_release_is_told_in_order_with_what_to_run(begun: Site, receiver: Receiver) -> None:
    begun.world.deliver(SDXL, "v1")
    release = publish(begun.requester, SDXL, "v1").id
    begun.settle(patient=True)
    assert begun.release(release).phase is ReleasePhase.LIVE
    assert deliver(begun.state, notifier(receiver)) == 2
    assert [got.json["type"] for got in receiver.got] == ["syncd.release.requested", "syncd.release.live"]
    assert receiver.got[1].json["data"]["text"] == f"sdxl@v1: release {release} is live in every region"
    assert receiver.got[1].json["data"]["command"] == f"syncd show {release}"


def test_only_what_a_receiver_wants_is_sent_and_what_was_before_it_is_not(begun: Site, receiver: Receiver) -> None:
    told(begun.state, "one", kind="hold.put")
    told(begun.state, "two", kind="release.undone")
    told(begun.state, "three", kind="version.quarantined", model="other")
    told(begun.state, "four", kind="step.done")
    mine = notifier(receiver, least=Severity.CRITICAL, models=(SDXL,))
    assert deliver(begun.state, mine) == 1
    assert deliver(begun.state, Notifier("new", sender("webhook", receiver), least=Severity.INFO)) == 0
    assert len(receiver.got) == 1
    assert receiver.got[0].json["type"] == "syncd.release.undone"


def test_a_receiver_that_is_down_for_an_hour_loses_nothing_and_keeps_the_order(begun: Site, receiver: Receiver) -> None:
    told(begun.state, "a", "b", "c")
    receiver.answer = lambda _: (503, "down")
    end = begun.world.time + timedelta(hours=1)
    while begun.world.time < end:
        assert deliver(begun.state, notifier(receiver)) == 0
        begun.world.time += timedelta(seconds=30)
    assert len(receiver.got) < 20, "less and less often"
    receiver.got.clear()
    receiver.answer = lambda _: (200, "")
    begun.world.time += timedelta(hours=1)
    told(begun.state, "d")
    assert deliver(begun.state, notifier(receiver)) == 4
    assert [text[-1] for text in receiver.texts()] == ["a", "b", "c", "d"]


def test_what_is_refused_for_too_long_is_given_up_and_shown_and_the_next_is_sent(
    begun: Site, receiver: Receiver
) -> None:
    told(begun.state, "bad", "good")
    receiver.answer = lambda got: (400, "no") if b"bad" in got.body else (200, "")
    for _ in range(FAILURES_MAX):
        begun.world.time += timedelta(hours=2)
        sent = deliver(begun.state, notifier(receiver))
    assert sent == 0
    begun.world.time += timedelta(hours=2)
    assert deliver(begun.state, notifier(receiver)) == 1
    with begun.state.read() as conn:
        (letter,) = notifications.dead(conn, 10)
        (progress,) = notifications.all_progress(conn)
    assert ("bad" in letter.text, "400" in letter.reason) == (True, True)
    assert progress.failures == 0


@pytest.mark.parametrize(
    ("status", "text", "error"),
    [(503, "", Unavailable), (429, "", Unavailable), (302, "", Refused), (404, "", Refused)]
    + [(200, f'{{"errcode": {code}}}', Unavailable) for code in (130101, 45009)],
)
def test_an_answer_says_whether_to_wait_or_to_correct(
    status: int, text: str, error: type[Exception], receiver: Receiver, here: Site
) -> None:
    receiver.answer = lambda _: (status, text)
    with here.state.read() as conn:
        notice = Notice("syncd-1", "hold.put", Severity.INFO, here.state.now(conn), SDXL, "", "text", "syncd status")
    with pytest.raises(error) as caught:
        sender("wecom", receiver).send(notice)
    assert "key=k" not in str(caught.value)
    assert len(receiver.got) == 1


CHILD: Final = """
import sys
from syncd.notify.notice import Severity
from syncd.notify.senders import Sender
from syncd.reconcile.notifications import Notifier, deliver
from syncd.secret import Secret
from syncd.state.state import State
sender = Sender("on-call", "webhook", Secret(sys.argv[2]))
print(deliver(State(sys.argv[1]), Notifier("on-call", sender, least=Severity.INFO)))
"""


@pytest.mark.parametrize("killed_at", [1, 2, 3])
def test_a_process_that_is_killed_while_it_sends_repeats_one_and_loses_none(
    killed_at: int, begun: Site, receiver: Receiver
) -> None:
    told(begun.state, "a", "b", "c")
    pids: list[int] = []

    def answer(_: Received) -> tuple[int, str]:
        if len(receiver.got) == killed_at:  # it was taken, and the process never hears of that
            os.kill(pids[0], signal.SIGKILL)
        return 200, ""

    receiver.answer = answer
    url = begun.state.url.render_as_string(hide_password=False)
    root = Path(__file__).parents[3]
    for code in (-signal.SIGKILL, 0):
        child = subprocess.Popen([sys.executable, "-c", CHILD, url, receiver.url], cwd=root, stdout=subprocess.DEVNULL)
        pids[:] = [child.pid]
        assert child.wait(60) == code
    sent = [text[-1] for text in receiver.texts()]
    assert sent == [*"abc"[:killed_at], *"abc"[killed_at - 1 :]]
    ids = [got.json["id"] for got in receiver.got]
    assert ids[killed_at - 1] == ids[killed_at], "the receiver can tell that it is the same"


def test_the_service_sends_from_threads_of_its_own_until_it_is_stopped(begun: Site, receiver: Receiver) -> None:
    service = NotificationService(begun.state, [notifier(receiver)], every_s=0.02)
    service.start()
    told(begun.state, "a")
    for _ in range(500):
        if receiver.got:
            break
        time.sleep(0.02)
    service.stop()
    service.stop()
    assert [text[-1] for text in receiver.texts()] == ["a"]
    told(begun.state, "b")
    assert deliver(begun.state, notifier(receiver)) == 1


def test_every_kind_that_is_told_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs/how-to/notifications.md").read_text()
    assert not [kind for kind in KINDS if f"`{kind}`" not in page]
