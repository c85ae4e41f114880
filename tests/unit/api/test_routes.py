"""Each path's response: the same as the command's, for permitted callers, and in the common shape on failure."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from syncd.api.openapi import DOCUMENT
from syncd.api.routes import ROUTES
from syncd.daemon.components import Components
from syncd.errors import KeyRefused
from syncd.plan.phases import ReleasePhase
from syncd.plan.roles import Role
from syncd.reconcile.requests.operations import hold
from syncd.reconcile.views.overview import overview
from syncd.state.access import processes, tokens
from syncd.state.schema_version import NEWEST

from tests.support.rooms import SDXL, Site
from tests.unit.api.serving import Served, problem

ALL = [(route.path.replace(":path", ""), method) for route in ROUTES for method in sorted(route.methods or ())]
ASKED = {"model": SDXL, "ref": "v1"}


def described(path: str, method: str, status: int) -> Any:
    """The schema of an answer."""
    found = DOCUMENT["paths"][path][method.lower()]["responses"][str(status)]["content"]["application/json"]["schema"]
    return {**found, "components": DOCUMENT["components"]}


def assert_described(answer: Any, path: str) -> None:
    schema = described(path, answer.request.method, answer.status_code)
    Draft202012Validator(schema).validate(answer.json())


def went_live(at: Site, *names: str) -> None:
    for name in names:
        at.world.deliver(SDXL, name)
        release = _published(at, name)
        at.settle(patient=True)
        assert at.release(release).phase is ReleasePhase.LIVE


def _published(at: Site, name: str) -> str:
    from syncd.reconcile.requests.operations import publish

    return publish(at.requester, SDXL, name).id


def test_it_is_alive_while_the_loop_runs_and_ready_after_the_first_poll(served: Served) -> None:
    assert served.get("/healthz", None).json() == {"status": "ok"}
    assert problem(served.get("/readyz", None)) == (503, "not_ready")
    served.pulse.record_poll("models")
    ready = served.get("/readyz", None)
    assert ready.json() == {"status": "ok", "components": []}
    assert_described(ready, "/readyz")


def test_an_outage_elsewhere_stands_in_the_body_of_readiness_and_never_changes_its_status(served: Served) -> None:
    served.pulse.record_poll("models")
    components = Components([("targets", "hz"), ("targets", "sh")], {("targets", "hz"): "main"})
    served.pulse.components = components  # type: ignore[misc]  # what the checks of a daemon fill
    components.end("targets", "hz", "", KeyRefused("oss://w1: no such key", hint="check the key"))
    components.end("targets", "sh", "", None)
    ready = served.get("/readyz", None)
    assert ready.status_code == 200
    assert_described(ready, "/readyz")
    states = {f"{each['section']}.{each['name']}": each["state"] for each in ready.json()["components"]}
    assert states == {"targets.hz": "degraded", "targets.sh": "good", "credentials.main": "degraded"}
    assert "no such key" not in ready.text, "reasons are for those who have a token"
    found = served.get("/v1/health")
    assert_described(found, "/v1/health")
    (key,) = [each for each in found.json()["components"] if each["section"] == "credentials"]
    assert (key["reason"], key["hint"]) == ("targets.hz: oss://w1: no such key", "check the key")
    with served.state.write() as conn:
        processes.record_seen(conn, "d", "h", 1, served.state.now(conn))
    assert served.get("/v1/health").json()["status"] == "degraded"
    components.end("targets", "hz", "", None)
    assert served.get("/v1/health").json()["status"] == "good"


def test_a_stopped_loop_is_not_ready(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    served.pulse.record_poll("models")
    monkeypatch.setattr(served.pulse, "_beat", -1e9)
    assert problem(served.get("/readyz", None)) == (503, "not_ready")


def test_a_blocked_loop_is_reported(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served.pulse, "_beat", -1e9)
    assert problem(served.get("/healthz", None)) == (503, "stuck")
    served.pulse.beat()
    assert served.get("/healthz", None).status_code == 200


def test_a_record_at_another_level_is_not_ready(served: Served) -> None:
    served.pulse.record_poll("models")
    with served.state.write() as conn:
        conn.exec_driver_sql("UPDATE syncd_schema SET version_num = '9999'")
    try:
        assert problem(served.get("/readyz", None)) == (503, "not_ready")
    finally:
        with served.state.write() as conn:
            conn.exec_driver_sql(f"UPDATE syncd_schema SET version_num = '{NEWEST}'")


def test_publishing_asks_for_a_release_in_the_tokens_name_and_wakes_the_loop(served: Served) -> None:
    served.site.world.deliver(SDXL, "v1")
    answer = served.post("/v1/releases", Role.PUBLISH, json=ASKED)
    assert answer.status_code == 202
    assert_described(answer, "/v1/releases")
    reported = answer.json()
    assert (reported["model"], reported["version"], reported["phase"]) == (SDXL, "v1", "requested")
    assert answer.headers["location"] == f"/v1/releases/{reported['release']}"
    assert served.woken
    (event,) = [e for e in served.site.events() if e.kind == "release.requested"]
    assert event.detail["requested_by"] == "a-publisher@127.0.0.1"


def test_asking_again_with_the_key_answers_with_the_same_release_though_it_has_ended(served: Served) -> None:
    at, key = served.site, {"Idempotency-Key": "run-17"}
    at.world.deliver(SDXL, "v1")
    first = served.post("/v1/releases", Role.PUBLISH, json=ASKED, headers=key).json()
    at.settle(patient=True)
    again = served.post("/v1/releases", Role.PUBLISH, json=ASKED, headers=key).json()
    assert (again["release"], again["phase"]) == (first["release"], "live")
    without = served.post("/v1/releases", Role.PUBLISH, json=ASKED).json()
    assert without["release"] != first["release"]
    other = served.post("/v1/releases", Role.PUBLISH, json=ASKED | {"ref": "v1"}, headers={"Idempotency-Key": "18"})
    assert other.json()["release"] == without["release"]


def test_a_key_is_not_for_two_things_and_is_each_tokens_own(served: Served) -> None:
    key = {"Idempotency-Key": "run-17"}
    for version in ("v1", "v2"):
        served.site.world.deliver(SDXL, version)
    first = served.post("/v1/releases", Role.PUBLISH, json=ASKED, headers=key).json()
    reused = served.post("/v1/releases", Role.PUBLISH, json=ASKED | {"ref": "v2"}, headers=key)
    assert problem(reused) == (409, "conflict")
    mine = served.post("/v1/releases", Role.OPERATE, json=ASKED | {"ref": "v2"}, headers=key).json()
    assert mine["release"] != first["release"]


def test_ten_at_once_with_one_key_get_one_release(served: Served) -> None:
    served.site.world.deliver(SDXL, "v1")
    served.token(Role.PUBLISH)

    def ask(_number: int) -> str:
        key = {"Idempotency-Key": "k"}
        return str(served.post("/v1/releases", Role.PUBLISH, json=ASKED, headers=key).json()["release"])

    with ThreadPoolExecutor(10) as pool:
        assert len(set(pool.map(ask, range(10)))) == 1
    assert len(served.site.all_releases()) == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", (400, "invalid")),
        (b"[]", (400, "invalid")),
        (b"[" * 100_000, (400, "invalid")),
        (b'{"model": "sdxl"}', (400, "invalid")),
        (b'{"model": "sdxl", "ref": 7}', (400, "invalid")),
        (b'{"model": "sdxl", "ref": "../v1"}', (400, "invalid")),
        (b'{"model": "sdxl", "ref": "v1\\u0000"}', (400, "invalid")),
        (b'{"model": "sdxl", "ref": "\\ud800"}', (400, "invalid")),
        (b'{"model": "sdxl", "ref": "v1", "wait": true}', (400, "invalid")),
        (b'{"model": "nobody", "ref": "v1"}', (404, "not_found")),
        (b'{"model": "sdxl", "ref": "v9"}', (404, "not_found")),
        (b"", (400, "invalid")),
        (b"\xff\xfe", (400, "invalid")),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_published_is_refused_and_nothing_is_recorded(
    served: Served, body: bytes, code: tuple[int, str]
) -> None:
    assert problem(served.post("/v1/releases", Role.PUBLISH, content=body)) == code
    assert served.site.all_releases() == []


def test_a_held_model_has_an_error_code_of_its_own(served: Served) -> None:
    served.site.world.deliver(SDXL, "v1")
    hold(served.site.requester, SDXL, "black images")
    answer = served.post("/v1/releases", Role.PUBLISH, json=ASKED)
    assert problem(answer) == (409, "held")
    assert "black images" in answer.json()["message"]


@pytest.mark.parametrize("kind", [bytes, lambda large: iter([large])], ids=["announced", "chunked"])
def test_a_body_that_is_too_large_is_refused(served: Served, kind: Callable[[bytes], Any]) -> None:
    content = kind(b"x" * ((1 << 20) + 1))
    assert problem(served.post("/v1/releases", Role.PUBLISH, content=content)) == (413, "too_large")


def test_a_rollback_goes_back_holds_and_says_who(served: Served) -> None:
    at = served.site
    went_live(at, "v1", "v2")
    answer = served.post(f"/v1/models/{SDXL}/rollback", json={"why": "black images"})
    assert answer.status_code == 202
    assert_described(answer, "/v1/models/{model}/rollback")
    assert (answer.json()["version"], answer.json()["rollback"]) == ("v1", True)
    (held,) = [event for event in at.events() if event.kind == "hold.put"]
    assert (held.detail["who"], held.detail["why"]) == ("a-operateer@127.0.0.1", "black images")
    at.settle(patient=True)
    assert at.world.serves("singapore") == [at.digest(SDXL, "v1")]
    assert served.get("/v1/models").json()["models"][0]["held"] == "black images"


def test_there_is_nothing_to_roll_back_to(served: Served) -> None:
    assert problem(served.post(f"/v1/models/{SDXL}/rollback")) == (404, "not_found")
    assert problem(served.post("/v1/models/team/nobody/rollback")) == (404, "not_found")


def test_status_models_and_releases_tell_what_the_commands_tell(served: Served) -> None:
    at = served.site
    went_live(at, "v1")
    status = served.get("/v1/status")
    assert_described(status, "/v1/status")
    reported = overview(at.state, at.context.topology)
    assert status.json()["live"][0]["digest"] == at.digest(SDXL, "v1")
    assert [row["binding"] for row in status.json()["live"]] == [row["binding"] for row in reported["live"]]
    assert {row["model"] for row in served.get(f"/v1/status?model={SDXL}").json()["live"]} == {SDXL}
    models = served.get("/v1/models")
    assert_described(models, "/v1/models")
    assert {model["model"] for model in models.json()["models"]} == set(at.context.topology.models())
    listed = served.get("/v1/releases?limit=1")
    assert_described(listed, "/v1/releases")
    (release,) = listed.json()["releases"]
    story = served.get(f"/v1/releases/{release['release']}")
    assert_described(story, "/v1/releases/{release}")
    assert story.json()["events"][0]["kind"] == "release.requested"
    assert {step["state"] for step in story.json()["steps"]} == {"done"}


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/releases/r-99", (404, "not_found")),
        ("/v1/releases/%00", (404, "not_found")),
        ("/v1/releases?limit=0", (400, "invalid")),
        ("/v1/releases?limit=many", (400, "invalid")),
        ("/v1/releases?limit=%C2%B2", (400, "invalid")),
        ("/v1/releases?model=..", (400, "invalid")),
        ("/v1/releases?model=nobody", (404, "not_found")),
        ("/v1/status?model=nobody", (404, "not_found")),
        ("/v1/events?after=soon", (400, "invalid")),
        ("/v1/nothing", (404, "not_found")),
        ("/v1/releases/", (404, "not_found")),
        ("/", (404, "not_found")),
    ],
)
def test_not_found_has_the_common_error_shape(served: Served, path: str, code: tuple[int, str]) -> None:
    assert problem(served.get(path)) == code


def test_another_method_is_refused_with_the_allowed_ones(served: Served) -> None:
    answer = served.call("DELETE", "/v1/status", Role.OPERATE)
    assert problem(answer) == (405, "method_not_allowed")
    assert "GET" in answer.headers["allow"]


NEEDED = {
    ("/v1/releases", "GET"): Role.READ,
    ("/v1/releases", "POST"): Role.PUBLISH,
    ("/v1/releases/{release}", "GET"): Role.READ,
    ("/v1/models", "GET"): Role.READ,
    ("/v1/models/{model}/versions", "GET"): Role.READ,
    ("/v1/models/{model}/rollback", "POST"): Role.OPERATE,
    ("/v1/models/{model}/hold", "POST"): Role.OPERATE,
    ("/v1/models/{model}/unhold", "POST"): Role.OPERATE,
    ("/v1/models/{model}/repair", "POST"): Role.OPERATE,
    ("/v1/models/{model}/repairs", "GET"): Role.READ,
    ("/v1/models/{model}/freeze", "POST"): Role.OPERATE,
    ("/v1/models/{model}/unfreeze", "POST"): Role.OPERATE,
    ("/v1/everything/freeze", "POST"): Role.OPERATE,
    ("/v1/everything/unfreeze", "POST"): Role.OPERATE,
    ("/v1/releases/{release}/cancel", "POST"): Role.OPERATE,
    ("/v1/releases/{release}/approve", "POST"): Role.OPERATE,
    ("/v1/releases/{release}/retry", "POST"): Role.OPERATE,
    ("/v1/retry", "POST"): Role.OPERATE,
    ("/v1/releases/{release}/dismiss", "POST"): Role.OPERATE,
    ("/v1/leases", "GET"): Role.READ,
    ("/v1/leases/{lease}", "PUT"): Role.PUBLISH,
    ("/v1/leases/{lease}", "DELETE"): Role.PUBLISH,
    ("/v1/health", "GET"): Role.READ,
    ("/v1/status", "GET"): Role.READ,
    ("/metrics", "GET"): Role.READ,
    ("/v1/plan", "GET"): Role.READ,
    ("/v1/drift", "GET"): Role.READ,
    ("/v1/verification", "GET"): Role.READ,
    ("/v1/advice", "GET"): Role.READ,
    ("/v1/starts", "GET"): Role.READ,
    ("/v1/version", "GET"): Role.READ,
    ("/v1/events", "GET"): Role.READ,
    ("/v1/refusals", "GET"): Role.OPERATE,
}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_every_path_but_health_and_hooks_wants_a_token_with_the_role_it_needs(served: Served) -> None:
    open_to_all = {"/healthz", "/readyz", "/openapi.json", "/hooks/{hook}"}
    assert {(p, m) for p, m in ALL if p not in open_to_all and m != "HEAD"} == set(NEEDED)
    for (path, method), needed in NEEDED.items():
        target = path.replace("{release}", "r-1").replace("{model}", SDXL)
        nobody = served.call(method, target)
        assert problem(nobody) == (401, "unauthenticated")
        assert nobody.headers["www-authenticate"] == "Bearer"
        for role in Role:
            if not role.allows(needed):
                assert problem(served.call(method, target, role)) == (403, "forbidden")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_token_is_refused_when_one_character_differs_or_it_was_taken_back(served: Served) -> None:
    good = served.token(Role.READ)
    for wrong in (good[:-1] + ("A" if good[-1] != "A" else "B"), good[:-1], good + "a", "Bearer", "é" * 60):
        header = {"Authorization": f"Bearer {wrong}".encode()}
        assert problem(served.call("GET", "/v1/status", headers=header)) == (401, "unauthenticated")  # type: ignore[arg-type]
    assert served.call("GET", "/v1/status", headers={"Authorization": f"bearer {good}"}).status_code == 200
    with served.state.write() as conn:
        tokens.revoke(conn, "a-reader", "ann@desk", served.state.now(conn))
    assert problem(served.get("/v1/status")) == (401, "unauthenticated")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_document_has_every_route_and_no_other(served: Served) -> None:
    answer = served.get("/openapi.json", None)
    shown = {(path, method.upper()) for path, item in answer.json()["paths"].items() for method in item}
    assert shown == {(path, method) for path, method in ALL if method != "HEAD"}
    for path, item in answer.json()["paths"].items():
        for method, operation in item.items():
            needed = NEEDED.get((path, method.upper()))
            assert bool(operation["security"]) == (needed is not None)
            assert needed is None or f"`{needed}`" in operation["description"]
    for schema in answer.json()["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_unreachable_database_is_reported(served: Served) -> None:
    served.token(Role.READ)
    with served.state.write() as conn:
        conn.exec_driver_sql("ALTER TABLE holds RENAME TO gone")
    answer = served.get("/v1/status")
    assert problem(answer) == (503, "unavailable")
    assert "holds" not in answer.text
    assert answer.headers["retry-after"]


def test_a_name_is_resolved_here_and_the_answer_names_the_version(served: Served) -> None:
    served.site.world.deliver(SDXL, "v1")
    key = {"Idempotency-Key": "run-1"}
    answer = served.post("/v1/releases", Role.PUBLISH, json={"name": "sdxl-v1"}, headers=key)
    assert_described(answer, "/v1/releases")
    assert (answer.json()["model"], answer.json()["version"]) == (SDXL, "v1")
    newest = {"Idempotency-Key": "run-2"}
    first = served.post("/v1/releases", Role.PUBLISH, json={"name": "sdxl"}, headers=newest).json()
    assert first["release"] == answer.json()["release"]
    served.site.settle(patient=True)
    served.site.world.deliver(SDXL, "v2")
    again = served.post("/v1/releases", Role.PUBLISH, json={"name": "sdxl"}, headers=newest).json()
    assert again["release"] == first["release"], "a repeated request gets its release, whatever is newest now"
    reused = served.post("/v1/releases", Role.PUBLISH, json={"name": "sdxl-v2"}, headers=newest)
    assert problem(reused) == (409, "conflict")
    assert served.post("/v1/releases", Role.PUBLISH, json={"name": "sdxl"}).json()["version"] == "v2"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"name": "sdxl-v9"}, (404, "not_found")),
        ({"name": "nobody"}, (404, "not_found")),
        ({"name": ""}, (400, "invalid")),
        ({"name": 7}, (400, "invalid")),
        ({"name": "sdxl-v1", "ref": "v1"}, (400, "invalid")),
    ],
    ids=str,
)
def test_a_name_that_fits_nothing_is_refused(served: Served, body: dict[str, object], code: tuple[int, str]) -> None:
    assert problem(served.post("/v1/releases", Role.PUBLISH, json=body)) == code
    assert served.site.all_releases() == []


def test_the_versions_of_a_model_are_listed(served: Served) -> None:
    for version in ("v1", "v2"):
        served.site.world.deliver(SDXL, version)
    answer = served.get("/v1/models/sdxl/versions")
    assert_described(answer, "/v1/models/{model}/versions")
    assert [each["version"] for each in answer.json()["versions"]] == ["v2", "v1"]
    assert problem(served.get("/v1/models/nobody/versions")) == (404, "not_found")
