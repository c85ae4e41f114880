"""Cancel, approve, hold and freeze over HTTP, with and without the client: the caller is in the events."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from syncd.client import Client
from syncd.errors import Conflict, Invalid, NotFound
from syncd.plan.phases import ReleasePhase
from syncd.plan.roles import Role
from syncd.reconcile.requests.operations import publish

from tests.support.rooms import SDXL
from tests.unit.api.serving import Served, problem
from tests.unit.api.test_routes import assert_described

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
WHO = "a-operateer@127.0.0.1"
MODEL_PATHS = ("hold", "unhold", "freeze", "unfreeze")


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(served.url, served.token(Role.OPERATE), trust_env=False) as made:
        yield made


def details(served: Served, kind: str) -> list[dict[str, object]]:
    return [dict(event.detail) for event in served.site.events() if event.kind == kind]


def test_a_release_is_cancelled_and_its_end_is_reported(served: Served, client: Client) -> None:
    at = served.site
    at.world.deliver(SDXL, "v1")
    asked = publish(at.requester, SDXL, "v1")
    answer = served.post(f"/v1/releases/{asked.id}/cancel", json={"why": "wrong eyes"})
    assert answer.status_code == 202
    assert_described(answer, "/v1/releases/{release}/cancel")
    assert served.woken
    assert client.cancel(asked.id, "again").id == asked.id
    at.settle()
    ended = at.release(asked.id)
    assert (ended.phase, ended.reason) == (ReleasePhase.CANCELLED, f"cancelled by {WHO}: wrong eyes")
    with pytest.raises(NotFound):
        client.cancel("r-99")


def test_what_is_live_is_not_cancelled_nor_approved(served: Served, client: Client) -> None:
    at = served.site
    at.world.deliver(SDXL, "v1")
    asked = publish(at.requester, SDXL, "v1")
    with pytest.raises(Conflict, match="not known yet"):
        client.approve(asked.id)
    at.settle(patient=True)
    with pytest.raises(Conflict, match="it is live"):
        client.cancel(asked.id)
    with pytest.raises(Conflict, match="it is live"):
        client.approve(asked.id)


def test_a_release_is_approved_for_its_bytes(served: Served, client: Client) -> None:
    at = served.site
    at.world.deliver(SDXL, "v1")
    asked = publish(at.requester, SDXL, "v1")
    at.until(ReleasePhase.PLACING, asked.id)
    given = client.approve(asked.id)
    assert (given.release_id, given.digest, given.who) == (asked.id, at.digest(SDXL, "v1"), WHO)
    again = served.post(f"/v1/releases/{asked.id}/approve")
    assert again.status_code == 200
    assert_described(again, "/v1/releases/{release}/approve")
    assert len(details(served, "release.approved")) == 1


def test_a_hold_is_put_and_lifted_once(served: Served, client: Client) -> None:
    held = client.hold(SDXL, "black images")
    assert (held.model, held.who, held.why) == (SDXL, WHO, "black images")
    answer = served.post(f"/v1/models/{SDXL}/hold", json={"why": "another reason"})
    assert answer.json()["why"] == "black images"
    assert_described(answer, "/v1/models/{model}/hold")
    assert problem(served.post("/v1/releases", json={"model": SDXL, "ref": "v1"})) == (404, "not_found")
    assert (client.unhold(SDXL), client.unhold(SDXL)) == (True, False)
    assert_described(served.post(f"/v1/models/{SDXL}/unhold"), "/v1/models/{model}/unhold")
    assert details(served, "hold.lifted") == [{"model": SDXL, "who": WHO}]
    assert client.hold(SDXL).why == "manual"


def test_a_freeze_has_a_duration_and_is_of_one_model_or_of_all(served: Served, client: Client) -> None:
    frozen = client.freeze(SDXL, "audit", hours=2)
    assert frozen.until is not None
    assert frozen.until - frozen.since == timedelta(hours=2)
    everything = client.freeze(why="quarter's end")
    assert (everything.model, everything.until, everything.who) == ("*", None, WHO)
    assert {each["model"] for each in client.status()["frozen"]} == {SDXL, "*"}
    assert_described(served.post("/v1/everything/freeze", json={"hours": 0.5}), "/v1/everything/freeze")
    assert_described(served.post(f"/v1/models/{SDXL}/freeze"), "/v1/models/{model}/freeze")
    assert (client.unfreeze(SDXL), client.unfreeze(SDXL), client.unfreeze()) == (True, False, True)
    assert_described(served.post("/v1/everything/unfreeze"), "/v1/everything/unfreeze")
    assert_described(served.post(f"/v1/models/{SDXL}/unfreeze"), "/v1/models/{model}/unfreeze")


@pytest.mark.parametrize("verb", MODEL_PATHS)
def test_a_model_without_a_binding_is_not_found(served: Served, verb: str) -> None:
    assert problem(served.post(f"/v1/models/team/nobody/{verb}")) == (404, "not_found")
    assert problem(served.post(f"/v1/models/%2e%2e%2fx/{verb}")) == (400, "invalid")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"/v1/models/{SDXL}/freeze", b'{"hours": -1}'),
        (f"/v1/models/{SDXL}/freeze", b'{"hours": 8785}'),
        (f"/v1/models/{SDXL}/freeze", b'{"hours": NaN}'),
        (f"/v1/models/{SDXL}/freeze", b'{"hours": Infinity}'),
        (f"/v1/models/{SDXL}/freeze", b'{"hours": true}'),
        (f"/v1/models/{SDXL}/freeze", b'{"hours": "2"}'),
        (f"/v1/models/{SDXL}/freeze", b'{"hour": 2}'),
        (f"/v1/models/{SDXL}/unfreeze", b'{"why": "x"}'),
        (f"/v1/models/{SDXL}/hold", b'{"why": 7}'),
        (f"/v1/models/{SDXL}/hold", b'{"why": "a\\nb"}'),
        ("/v1/releases/r-1/cancel", b'{"because": "x"}'),
        ("/v1/releases/r-1/approve", b'{"digest": "x"}'),
    ],
)
def test_a_body_that_cannot_be_right_changes_nothing(served: Served, path: str, body: bytes) -> None:
    assert problem(served.post(path, content=body)) == (400, "invalid")
    assert [event.kind for event in served.site.events() if event.kind.startswith(("hold", "freeze"))] == []


def test_the_client_reports_invalid_requests_too(client: Client) -> None:
    with pytest.raises(Invalid):
        client.freeze(SDXL, hours=-1)
    with pytest.raises(Invalid):
        client.freeze("../everything")  # which is not that path
    with pytest.raises(NotFound):
        client.unhold("nobody")
    assert client.status()["frozen"] == []
