"""Fault rules: validation, order, and their JSON form."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from syncd.localcloud.faults import (
    ACTION_KINDS,
    Action,
    Delay,
    FaultRule,
    FaultScript,
    FlipBit,
    Reset,
    Respond,
    SetState,
    Trickle,
    Truncate,
    run_with_faults,
)
from syncd.localcloud.httpd import Body, HeaderFields, ServerRequest, ServerResponse, WireFault

ACTIONS: list[Action] = [
    Respond(429, "Throttled", "slow", {"x-acs-retry-after": "1"}),
    Respond(502, body="<html/>"),
    Reset(),
    Delay(0.5),
    Truncate(10),
    FlipBit(3),
    Trickle(1000),
    SetState({"in_progress_s": 2, "end": "Failed"}),
]


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: type(action).__name__)
def test_every_rule_survives_json(action: Action) -> None:
    rule = FaultRule("fc", action, "UpdateAlias", "f/prod", skip=1, times=0, when="after")
    assert FaultRule.from_dict(json.loads(json.dumps(rule.to_dict()))) == rule


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({}, "'action'"),
        ({"action": {"kind": "Explode"}, "service": "oss"}, "Explode"),
        ({"action": {"kind": "Reset"}}, "service"),
        ({"action": {"kind": "Reset", "extra": 1}, "service": "oss"}, "extra"),
        ({"action": {"kind": "Reset"}, "service": "ecs"}, "ecs"),
        ({"action": {"kind": "Reset"}, "service": "oss", "when": "never"}, "never"),
        ({"action": {"kind": "Reset"}, "service": "oss", "skip": -1}, "skip is -1"),
        ({"action": {"kind": "Reset"}, "service": "oss", "operation": "("}, "compile"),
        ({"action": {"kind": "Reset"}, "service": "oss", "often": 2}, "often"),
        ({"action": {"kind": "Delay", "seconds": "long"}, "service": "oss"}, "seconds"),
        ({"action": {"kind": "Reset"}, "service": "oss", "times": "two"}, "times is"),
        ({"action": {"kind": "Reset"}, "service": "oss", "times": 1.5}, "times"),
        ({"action": {"kind": "Answer", "status": 42}, "service": "oss"}, "200 to 599"),
        ({"action": {"kind": "Trickle", "bytes_per_s": 0}, "service": "oss"}, "1 or more"),
        ("text", "not a fault rule"),
    ],
)
def test_what_is_no_rule_is_refused_with_what_is_wrong(plain: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FaultRule.from_dict(plain)


def test_rules_are_used_up_in_their_order() -> None:
    script = FaultScript()
    first = FaultRule("oss", Reset(), "Put.*", skip=1, times=2)
    always = FaultRule("oss", Delay(0), "PutObject", "b/.*", times=0)
    script.add(first, always)
    taken = [script.take("oss", "PutObject", "b/k") for _ in range(4)]
    assert taken == [[always], [first, always], [first, always], [always]]
    assert script.take("fc", "PutObject", "b/k") == []
    assert script.take("oss", "PutObject", "c/k") == []
    assert [rule["hits"] for rule in script.to_list()] == [2, 4]
    script.clear()
    assert script.take("oss", "PutObject", "b/k") == []


def test_a_rule_hits_as_often_as_it_says_however_many_threads_ask() -> None:
    script = FaultScript()
    script.add(FaultRule("oss", Reset(), times=100))
    hits: list[FaultRule] = []

    def ask() -> None:
        for _ in range(100):
            hits.extend(script.take("oss", "any", ""))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(hits) == 100


def _request(body: bytes = b"") -> ServerRequest:
    return ServerRequest("PUT", "/", "/", (), HeaderFields(), Body.of(body))


def _run(script: FaultScript, request: ServerRequest, *rules: FaultRule) -> tuple[ServerResponse, list[bytes]]:
    ran: list[bytes] = []

    def run() -> ServerResponse:
        ran.append(request.body.read())
        return ServerResponse(200, body=b"done")

    def render(answer: Respond) -> ServerResponse:
        return ServerResponse(answer.status, body=answer.code.encode())

    return run_with_faults(script, list(rules), request, run, render), ran


def test_an_answer_replaces_the_call_or_only_its_answer() -> None:
    script = FaultScript()
    before, ran = _run(script, _request(), FaultRule("oss", Respond(503, "SlowDown")))
    assert (before.status, before.body, ran) == (503, b"SlowDown", [])
    after, ran = _run(script, _request(), FaultRule("oss", Respond(500), when="after"))
    assert (after.status, ran) == (500, [b""])
    lost, ran = _run(script, _request(), FaultRule("oss", Reset(), when="after"))
    assert (lost.wire, ran) == (WireFault(reset=True), [b""])


def test_faults_of_the_wire_add_up() -> None:
    rules = [FaultRule("oss", action, when="after") for action in (Delay(2), Truncate(5), FlipBit(1), Trickle(9))]
    response, _ = _run(FaultScript(), _request(), *rules)
    assert response.wire == WireFault(truncate_at=5, corrupt_at=1, delay_s=2, bytes_per_s=9)


def test_corruption_is_of_the_request_where_it_has_a_body() -> None:
    response, ran = _run(FaultScript(), _request(b"000"), FaultRule("oss", FlipBit(1)))
    assert ran == [b"010"]
    assert response.wire == WireFault()


def test_a_state_is_left_to_the_service() -> None:
    response, ran = _run(FaultScript(), _request(), FaultRule("fc", SetState({"end": "Failed"})))
    assert (response.status, len(ran)) == (200, 1)


def test_a_pause_ends_when_the_cloud_stops() -> None:
    script = FaultScript()
    waiting = threading.Thread(target=script.pause, args=(600,))
    waiting.start()
    script.release()
    waiting.join(10)
    assert not waiting.is_alive()
    script.resume()
    script.pause(0)


def test_the_json_of_every_kind_of_fault_is_a_published_format() -> None:
    golden = Path(__file__).parents[2] / "golden" / "v1" / "fault-rules.json"
    published = json.loads(golden.read_text())
    rules = [FaultRule.from_dict(plain) for plain in published]
    assert [rule.to_dict() for rule in rules] == published
    assert [type(rule.action) for rule in rules] == list(ACTION_KINDS.values())
    assert [plain["action"]["kind"] for plain in published] == list(ACTION_KINDS)
