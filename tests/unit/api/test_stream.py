"""Event stream: each event once and in order, from any event on, until the process stops."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from syncd.api.endpoints.stream import STREAMS_EACH_MAX
from syncd.plan.roles import Role
from syncd.state.access import tokens
from syncd.state.releases import events
from syncd.state.state import State

from tests.support.rooms import Site
from tests.unit.api.serving import LIMIT_S, Served, problem, serving

Reported = tuple[int, str, dict[str, Any]]


def happen(state: State, *subjects: str) -> None:
    with state.write() as conn:
        for subject in subjects:
            events.append(conn, "hold.put", now=state.now(conn), subject=subject, detail={"n": subject})


@contextmanager
def listening(served: Served, **headers: str) -> Iterator[Iterator[str]]:
    """A stream that is open, line by line."""
    given = {"Authorization": f"Bearer {served.token(Role.READ)}"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    with (
        httpx.Client(base_url=served.url, timeout=LIMIT_S, trust_env=False) as client,
        client.stream("GET", "/v1/events", headers=given) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert next(lines).startswith(": after")
        yield lines


def reported(lines: Iterator[str], count: int) -> list[Reported]:
    """The next events."""
    found: list[Reported] = []
    parts: dict[str, str] = {}
    while len(found) < count:
        name, _, value = next(lines).partition(": ")
        if name:
            parts[name] = value
        elif "id" in parts:
            found.append((int(parts["id"]), parts["event"], json.loads(parts["data"])))
            parts = {}
    return found


def test_events_are_sent_once_in_order_and_resumed_from_the_last_id(served: Served) -> None:
    happen(served.state, "before")
    with listening(served) as lines:
        happen(served.state, "a", "b")
        first = reported(lines, 2)
    assert [event["subject"] for _, _, event in first] == ["a", "b"]
    assert {kind for _, kind, _ in first} == {"hold.put"}
    assert first[0][2]["detail"] == {"n": "a"}
    assert first[0][2]["release"] is None
    happen(served.state, "c")
    with listening(served, Last_Event_ID=str(first[0][0])) as lines:
        assert [event["subject"] for _, _, event in reported(lines, 2)] == ["b", "c"]


def test_everything_can_be_read_from_the_beginning_in_batches(served: Served) -> None:
    happen(served.state, *(str(n) for n in range(250)))
    with listening(served, Last_Event_ID="0") as lines:
        found = [event for event in reported(lines, 250 + 1) if event[1] == "hold.put"]
    assert [event["subject"] for _, _, event in found] == [str(n) for n in range(250)]


def test_a_stream_ends_when_the_process_stops(at: Site) -> None:
    ended = threading.Event()

    def listen(lines: Iterator[str]) -> None:
        for _ in lines:
            pass
        ended.set()

    with serving(at) as served, listening(served) as lines:
        reader = threading.Thread(target=listen, args=(lines,))
        reader.start()
        served.api.stop()
        reader.join(LIMIT_S)
    assert ended.is_set()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_one_token_has_so_many_streams_and_gets_them_back(served: Served) -> None:
    from contextlib import ExitStack

    with ExitStack() as stack:
        for _ in range(STREAMS_EACH_MAX):
            stack.enter_context(listening(served))
        refused = served.get("/v1/events")
        assert problem(refused) == (429, "busy")
        assert refused.headers["retry-after"]
    happen(served.state, "later")
    assert served.call("HEAD", "/v1/events", Role.READ).status_code == 200
    server = served.api._app.state.server
    deadline = threading.Event()
    for _ in range(300):
        if not sum(server.streams.values()):
            break
        deadline.wait(0.1)
    with listening(served):
        pass


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_silent_stream_is_kept_alive_and_a_record_out_of_reach_does_not_end_it(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncd.api.endpoints.stream.KEEPALIVE_EVERY_S", 0.1)
    with listening(served) as lines:
        assert ": keep-alive" in (next(lines), next(lines))
        with served.state.write() as conn:
            conn.exec_driver_sql("ALTER TABLE events RENAME TO gone")
        assert ": keep-alive" in (next(lines), next(lines))
        with served.state.write() as conn:
            conn.exec_driver_sql("ALTER TABLE gone RENAME TO events")
        happen(served.state, "a")
        assert reported(lines, 1)[0][2]["subject"] == "a"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_stream_ends_when_its_token_is_taken_back(served: Served) -> None:
    for role in (Role.READ, Role.OPERATE):
        served.token(role)
    with listening(served) as lines, listening(served, Authorization=f"Bearer {served.token(Role.OPERATE)}") as other:
        with served.state.write() as conn:
            tokens.revoke(conn, f"a-{Role.READ}er", "ann@desk", served.state.now(conn))
        assert [line for line in lines if line] == [": the token was revoked, or has ended"]
        happen(served.state, "later")
        assert [event["subject"] for _, _, event in reported(other, 2)][-1] == "later"
