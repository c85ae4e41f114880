"""Deliveries: one that is answered with 202 is in the record, survives a crash, and causes one poll."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from syncd.api.responses import BODY_MAX_BYTES
from syncd.api.webhooks.delivery_batcher import QUEUE_MAX
from syncd.daemon.polling import Poller
from syncd.state.access import deliveries
from syncd.state.records import Delivery
from syncd.state.state import State

from tests.support.rooms import SDXL, Site
from tests.unit.api.deliveries import SHOWN, Genuine, genuine, hook
from tests.unit.api.serving import Served, problem, serving

ALL = genuine()
SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
MLFLOW = next(each for each in ALL if each.name == "mlflow model_version.created")
HARBOR = next(each for each in ALL if each.name == "harbor push")


def send(served: Served, given: Genuine, name: str = "models") -> httpx.Response:
    return served.call("POST", f"/hooks/{name}", headers=given.headers, content=given.body, params=given.query)


def waiting(state: State) -> list[Delivery]:
    with state.read() as conn:
        return deliveries.unpolled(conn, "models")


@pytest.mark.parametrize("given", ALL, ids=str)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_over_the_wire_a_genuine_one_is_accepted_and_a_changed_one_is_not(
    at: Site, given: Genuine, tmp_path: Path
) -> None:
    with serving(at, {"models": hook(given, tmp_path)}, given.now_s) as served:
        answer = send(served, given)
        assert answer.status_code == 202
        reported = answer.json()
        assert reported["new"] == reported["accepted"] == len(waiting(at.state))
        wrong = {name: value[:-2] + ("AA" if value[-2:] != "AA" else "BB") for name, value in given.headers.items()}
        forged = replace(given, headers=wrong, query={"token": "x"})
        assert problem(send(served, forged)) == (401, "unauthenticated")
        assert len(waiting(at.state)) == reported["new"]


def test_what_was_accepted_is_in_the_record_before_the_answer_and_taken_once(at: Site, tmp_path: Path) -> None:
    hooks = {"models": hook(MLFLOW, tmp_path)}
    with serving(at, hooks, MLFLOW.now_s) as served:
        assert send(served, MLFLOW).json() == {"accepted": 1, "new": 1}
        assert send(served, MLFLOW).json() == {"accepted": 1, "new": 0}
    (reported,) = waiting(at.state)
    assert (reported.hook, reported.id) == ("models", MLFLOW.headers["x-mlflow-delivery-id"])
    with serving(at, hooks, MLFLOW.now_s) as another:  # as after a crash
        assert send(another, MLFLOW).json() == {"accepted": 1, "new": 0}
    assert waiting(at.state) == [reported]


def test_many_at_once_and_each_twice_are_each_recorded_once(at: Site, tmp_path: Path) -> None:
    bodies = [HARBOR.body.replace(b'"v1"', f'"v{n}"'.encode()) for n in range(60)]
    with serving(at, {"models": hook(HARBOR, tmp_path)}) as served, httpx.Client(trust_env=False) as client:

        def post(body: bytes) -> int:
            return client.post(f"{served.url}/hooks/models", headers=HARBOR.headers, content=body).status_code

        with ThreadPoolExecutor(20) as pool:
            assert set(pool.map(post, [*bodies, *bodies])) == {202}
    assert len(waiting(at.state)) == 60


def test_an_unknown_webhook_and_other_methods_are_refused(served: Served) -> None:
    assert problem(served.post("/hooks/nobody", None, content=b"{}")) == (401, "unauthenticated")
    assert problem(served.get("/hooks/nobody", None)) == (405, "method_not_allowed")


def test_a_proven_delivery_that_is_not_json_or_too_large_is_refused(at: Site, tmp_path: Path) -> None:
    with serving(at, {"models": hook(HARBOR, tmp_path)}) as served:
        assert problem(send(served, replace(HARBOR, body=b"{"))) == (400, "invalid")
        assert problem(send(served, replace(HARBOR, body=b"x" * ((1 << 20) + 1)))) == (413, "too_large")
        assert send(served, replace(HARBOR, body=b"{}" + b" " * ((1 << 20) - 2))).status_code == 202


def test_a_header_that_comes_twice_proves_nothing(at: Site, tmp_path: Path) -> None:
    with serving(at, {"models": hook(HARBOR, tmp_path)}) as served, httpx.Client(trust_env=False) as client:
        headers = [("Authorization", SHOWN), ("Authorization", "other")]
        answer = client.post(f"{served.url}/hooks/models", headers=headers, content=HARBOR.body)
        assert problem(answer) == (401, "unauthenticated")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_record_that_does_not_answer_accepts_nothing(at: Site, tmp_path: Path) -> None:
    with serving(at, {"models": hook(HARBOR, tmp_path)}) as served:
        with at.state.write() as conn:
            conn.exec_driver_sql("ALTER TABLE deliveries RENAME TO gone")
        assert problem(send(served, HARBOR)) == (503, "unavailable")
        with at.state.write() as conn:
            conn.exec_driver_sql("ALTER TABLE gone RENAME TO deliveries")
        assert send(served, HARBOR).json() == {"accepted": 1, "new": 1}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_deliveries_over_the_limit_are_refused_with_a_time_to_retry(
    at: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncd.api.webhooks.delivery_batcher.QUEUE_MAX", 2)
    bodies = [HARBOR.body.replace(b'"v1"', f'"v{n}"'.encode()) for n in range(8)]
    locked, go_on = threading.Event(), threading.Event()

    def keep_the_record() -> None:
        with at.state.write():
            locked.set()
            go_on.wait(20)

    with serving(at, {"models": hook(HARBOR, tmp_path)}) as served, ThreadPoolExecutor(9) as pool:
        pool.submit(keep_the_record)
        locked.wait(20)
        refused = threading.Event()

        def post(body: bytes) -> int:
            answer = send(served, replace(HARBOR, body=body))
            if answer.status_code == 429:
                assert problem(answer) == (429, "busy")
                assert answer.headers["retry-after"]
                refused.set()
            return answer.status_code

        answers = [pool.submit(post, body) for body in bodies]
        assert refused.wait(20)
        go_on.set()
        codes = [answer.result() for answer in answers]
    assert set(codes) == {202, 429}
    assert codes.count(202) == len(waiting(at.state)) >= 3
    assert QUEUE_MAX == 1000


def reported(state: State, name: str, place: str = "") -> None:
    with state.write() as conn:
        deliveries.record(conn, [Delivery("models", name, "models", "m", place)], state.now(conn))


def poller_of(at: Site) -> Poller:
    return Poller(at.context, "models", 10.0, auto_release=True, start=lambda work: work())


def test_a_delivery_leads_to_a_poll_that_requests_the_new_version(at: Site) -> None:
    at.world.deliver(SDXL, "v1")
    poller_of(at).poll_reported()
    assert at.all_releases() == []
    reported(at.state, "1")
    reported(at.state, "2")
    poller_of(at).poll_reported()
    assert [(release.ref, release.requested_by) for release in at.all_releases()] == [("v1", "watch models")]
    assert waiting(at.state) == []


def test_a_failed_poll_settles_nothing(at: Site) -> None:
    reported(at.state, "1")
    hidden = at.world.root.rename(at.world.root.with_name("hidden"))
    poller_of(at).poll_reported()
    assert len(waiting(at.state)) == 1
    hidden.rename(at.world.root)
    poller_of(at).poll_reported()
    assert waiting(at.state) == []


@pytest.mark.parametrize("place", ["", SDXL])
def test_a_delivery_during_a_poll_causes_another_poll(at: Site, place: str) -> None:
    reported(at.state, "1", place)

    class Slow:
        def discover(self, model: str) -> list[object]:
            reported(at.state, f"2 {model}", place)
            return []

    registries = at.context.registries
    real, registries["models"] = registries["models"], Slow()  # type: ignore[index]
    poller = poller_of(at)
    poller.poll_reported()
    assert {delivery.id.partition(" ")[0] for delivery in waiting(at.state)} == {"2"}
    registries["models"] = real  # type: ignore[index]
    poller.poll_reported()
    assert waiting(at.state) == []


def test_deliveries_are_kept_for_their_repetitions_and_then_forgotten(state: State) -> None:
    reported(state, "1")
    with state.write() as conn:
        now = state.now(conn)
        late = now + deliveries.KEPT
        assert deliveries.record(conn, [Delivery("models", "1", "models", "m")], now) == 0
        assert deliveries.record(conn, [Delivery("other", "1", "models", "m")], now) == 1
        deliveries.claim(conn, "models", "a poll")
        deliveries.mark_polled(conn, "models", "a poll", now)
        assert deliveries.forget(conn, now - deliveries.KEPT, ["models"]) == 0
        assert deliveries.forget(conn, late, ["models"]) == 2


def test_a_delivery_that_waits_is_kept_while_its_registry_is_configured(state: State) -> None:
    reported(state, "1")
    with state.write() as conn:
        late = state.now(conn) + deliveries.KEPT
        assert deliveries.forget(conn, late, ["models"]) == 0
        assert deliveries.forget(conn, late, []) == 1


@SQLITE
def test_an_invalid_delivery_is_refused_without_details(at: Site, tmp_path: Path) -> None:
    with serving(at, {"models": hook(HARBOR, tmp_path)}, HARBOR.now_s) as served:
        for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"):
            assert served.call(method, "/hooks/models").status_code == 405
        for headers in ({}, {"authorization": ""}, {"authorization": SHOWN + "\u00e9"}, {"authorization": "\u00e9"}):
            raw = {name: value.encode() for name, value in headers.items()}
            assert problem(served.call("POST", "/hooks/models", headers=raw, content=HARBOR.body)) == (  # type: ignore[arg-type]
                401,
                "unauthenticated",
            )
        proof = [("Authorization", SHOWN)]
        for proofs, status in ((proof, 202), (proof * 2, 401)):
            sent = httpx.post(f"{served.url}/hooks/models", headers=proofs, content=HARBOR.body, trust_env=False)
            assert sent.status_code == status
    assert len(waiting(at.state)) == 1


@SQLITE
@pytest.mark.parametrize("size", [BODY_MAX_BYTES, BODY_MAX_BYTES + 1])
@pytest.mark.parametrize("in_chunks", [False, True])
def test_a_delivery_may_have_a_mebibyte_and_not_a_byte_more(
    at: Site,
    tmp_path: Path,
    size: int,
    in_chunks: bool,  # noqa: FBT001 -- a case
) -> None:
    body = HARBOR.body.ljust(size)
    with serving(at, {"models": hook(HARBOR, tmp_path)}, HARBOR.now_s) as served:
        content = iter([body[:7], body[7:]]) if in_chunks else body
        answer = served.call("POST", "/hooks/models", headers=HARBOR.headers, content=content)
    assert answer.status_code == (202 if size == BODY_MAX_BYTES else 413)


@SQLITE
@pytest.mark.parametrize("body", [b'{"type": "a", "type": "b"}', b'{"x": NaN}', b'{"x": [-Infinity]}', b"{}x"])
def test_a_proven_body_that_two_programs_read_differently_is_refused(at: Site, tmp_path: Path, body: bytes) -> None:
    with serving(at, {"models": hook(HARBOR, tmp_path)}, HARBOR.now_s) as served:
        assert problem(send(served, replace(HARBOR, body=body))) == (400, "invalid")


@SQLITE
@pytest.mark.parametrize(("away_s", "status"), [(-300, 202), (300, 202), (-301, 400), (301, 400), (-9e9, 400)])
def test_a_signed_time_is_good_up_to_the_edges_of_its_window(
    at: Site, tmp_path: Path, away_s: float, status: int
) -> None:
    signed_s = float(MLFLOW.headers["x-mlflow-timestamp"])
    with serving(at, {"models": hook(MLFLOW, tmp_path)}, signed_s + away_s) as served:
        assert send(served, MLFLOW).status_code == status


@SQLITE
def test_thousands_of_headers_are_counted_in_no_time(at: Site, tmp_path: Path) -> None:
    many = [(f"x{number}", "") for number in range(3000)]
    with serving(at, {"models": hook(HARBOR, tmp_path)}, HARBOR.now_s) as served:
        headers = [*many, *HARBOR.headers.items()]
        assert served.call("POST", "/hooks/models", headers=headers, content=HARBOR.body).status_code == 202  # type: ignore[arg-type]
