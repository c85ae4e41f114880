"""What HTTP clients may expect: pages, conditional requests, methods, headers, and one shape of error everywhere."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import pytest
from jsonschema import Draft202012Validator
from syncd.api.openapi import DOCUMENT
from syncd.api.routes import ROUTES
from syncd.client import Client, reader
from syncd.plan.roles import Role
from syncd.reconcile.controller.tick import tick
from syncd.reconcile.requests.operations import cancel, hold, publish
from syncd.state.access import processes

from tests.support.rooms import SDXL
from tests.unit.api.serving import Served, problem

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
OPERATIONS = [
    (path, method, operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if path.startswith("/v1")
]


def released(served: Served, count: int) -> list[str]:
    """The ids of so many releases, newest first."""
    served.site.world.deliver(SDXL, "v1")
    found = []
    for _ in range(count):
        found.append(publish(served.site.requester, SDXL, "v1").id)
        cancel(served.site.requester, found[-1], "")
        served.site.settle(patient=True)
    return found[::-1]


# In an order in which each has something to do, with the body of those that need one.
CALLS = (
    ("publishRelease", {"model": SDXL, "ref": "v1"}),
    *(
        (name, None)
        for name in ("getLiveness", "getReadiness", "getOpenapi", "listReleases", "getRelease", "listModels")
    ),
    ("listRefusals", None),
    *((name, None) for name in ("getStatus", "getHealth", "getVerification", "getDrift", "approveRelease")),
    *((name, None) for name in ("listVersions", "retryRelease", "retryAll", "cancelRelease", "unholdModel")),
    ("holdModel", {"why": "black images"}),
    ("freezeModel", {"why": "quarter's end", "hours": 48}),
    *((name, None) for name in ("unfreezeModel", "freezeEverything", "unfreezeEverything", "rollbackModel")),
    ("repairModel", {}),
    ("listRepairs", None),
    ("putLease", {"model": SDXL, "version": "v2", "hours": 8}),
    ("listLeases", None),
    ("endLease", None),
    ("planRelease", None),
    ("adviseModel", None),
    ("getStarts", None),
    ("getVersion", None),
)
QUERIES = {"planRelease": {"name": f"{SDXL}@v1"}, "adviseModel": {"model": SDXL}, "getVersion": {"name": f"{SDXL}@v2"}}


def test_every_operation_can_be_called_by_its_description_and_answers_as_it_says(served: Served) -> None:
    """What a generated client does: the method, the path and the schemas come from the document."""
    at = served.site
    document = served.get("/openapi.json", None).json()
    operations = {
        operation["operationId"]: (method, path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }
    others = {
        "streamEvents",
        "receiveDelivery",
        "dismissRelease",
        "getMetrics",
    }  # a stream, a signed body, a stall, text
    assert {name for name, _ in CALLS} == set(operations) - others
    served.pulse.record_poll("models")
    for version in ("v2", "v3", "v1"):
        at.world.deliver(SDXL, version)
        if version != "v1":
            publish(at.requester, SDXL, version)
            at.settle(patient=True)
    for name, body in CALLS:
        method, path, operation = operations[name]
        target = path.replace("{release}", "r-3").replace("{model}", SDXL).replace("{lease}", "train-9")
        more = {"params": QUERIES[name]} if name in QUERIES else {} if body is None else {"json": body}
        answer = served.call(method.upper(), target, Role.OPERATE if operation["security"] else None, **more)
        (success,) = (status for status in operation["responses"] if status in {"200", "202"})
        assert str(answer.status_code) == success, (name, answer.text)
        schema = operation["responses"][success]["content"]["application/json"]["schema"]
        Draft202012Validator({**schema, "components": document["components"]}).validate(answer.json())
        if name == "getDrift":  # until its digest is known, it cannot be approved
            tick(at.context)
            assert at.run_one()


def test_a_list_has_pages_that_a_new_release_does_not_move(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = released(served, 5)
    first = served.get("/v1/releases?limit=2").json()
    assert ([each["release"] for each in first["releases"]], first["next"]) == (ids[:2], ids[1])
    newer = publish(served.site.requester, SDXL, "v1").id
    second = served.get(f"/v1/releases?limit=2&before={first['next']}").json()
    assert [each["release"] for each in second["releases"]] == ids[2:4]
    last = served.get(f"/v1/releases?limit=2&model={SDXL}&before={second['next']}").json()
    assert [each["release"] for each in last["releases"]] == ids[4:]
    assert "next" not in last
    assert served.get(f"/v1/releases?model={SDXL}&before=r-1").json() == {"releases": []}
    assert "next" not in served.get("/v1/releases?limit=6").json()
    monkeypatch.setattr(reader, "PAGE_MAX", 2)
    with Client(served.url, served.token(Role.READ), trust_env=False) as client:
        assert [each.id for each in client.releases(limit=5)] == [newer, *ids[:4]]
        assert [each.id for each in client.releases(SDXL, limit=1000)] == [newer, *ids]


@pytest.mark.parametrize("before", ["", "7", "r-", "r-x", "r-7%0A", "r-" + "9" * 19])
def test_a_cursor_that_is_none_is_refused(served: Served, before: str) -> None:
    assert problem(served.get(f"/v1/releases?before={before}")) == (400, "invalid")


def test_a_query_key_that_the_path_does_not_know_is_refused(served: Served) -> None:
    for path, method, operation in OPERATIONS:
        target = path.replace("{release}", "r-1").replace("{model}", SDXL)
        answer = served.call(method.upper(), target, Role.OPERATE, params={"models": "x"})
        assert problem(answer) == (400, "invalid"), path
        known = [each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"]
        assert answer.json()["message"] == "the query has an unknown key 'models'"
        assert answer.json()["hint"] == (f"known keys: {', '.join(known)}" if known else "this path has none")
    answer = served.get(f"/v1/status?model={SDXL}&model=other")
    assert (problem(answer), answer.json()["message"]) == ((400, "invalid"), "model: expected one value, got 2")


def test_the_status_is_sent_again_only_when_it_has_changed(served: Served) -> None:
    first = served.get("/v1/status")
    tag = first.headers["etag"]
    again = served.get("/v1/status", headers={"If-None-Match": f'"other", {tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    hold(served.site.requester, SDXL, "black images")
    changed = served.get("/v1/status", headers={"If-None-Match": tag})
    assert (changed.status_code, changed.json()["held"][0]["why"]) == (200, "black images")
    assert changed.headers["etag"] != tag


def test_the_time_at_which_the_daemon_was_seen_changes_no_etag(served: Served) -> None:
    tags = []
    for _ in range(2):
        with served.state.write() as conn:
            processes.record_seen(conn, "a-daemon", "host", 1, served.state.now(conn))
        answer = served.get("/v1/status")
        tags.append((answer.json()["daemon"]["seen_at"], answer.headers["etag"]))
    assert tags[0][0] != tags[1][0]
    assert tags[0][1] == tags[1][1]


def test_a_refused_method_is_answered_with_every_method_of_the_path(served: Served) -> None:
    for path in {route.path for route in ROUTES}:
        target = path.replace("{release}", "r-1").replace("{model:path}", SDXL).replace("{hook}", "models")
        answer = served.call("PATCH", target, Role.OPERATE)
        assert problem(answer) == (405, "method_not_allowed")
        wanted = {method for route in ROUTES if route.path == path for method in route.methods or ()}
        assert answer.headers["allow"] == ", ".join(sorted(wanted)), path


def test_no_answer_is_kept_by_a_cache_or_taken_for_another_type(served: Served) -> None:
    answers = [
        served.get("/healthz", None),
        served.get("/v1/status"),
        served.get("/v1/nothing"),
        served.get("/v1/status", None),
    ]
    answers += [served.post("/v1/releases", content=b"x"), served.call("HEAD", "/v1/events", Role.READ)]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff", answer.url
        assert answer.headers["cache-control"] == "no-store", answer.url


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"GET /\r\n: x\r\n\r\n"])
def test_what_is_no_http_is_refused_in_the_common_shape(served: Served, sent: bytes) -> None:
    place = urlsplit(served.url)
    with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
        connection.sendall(sent)
        head, _, body = b"".join(iter(lambda: connection.recv(65536), b"")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert b"content-type: application/json" in head.lower()
    assert b"connection: close" in head.lower()
    assert (set(json.loads(body)), json.loads(body)["code"]) == ({"code", "message", "hint"}, "invalid")
