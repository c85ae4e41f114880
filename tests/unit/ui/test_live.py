"""Live pages: told of what changes, by one look for all that watch the same, until the session ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from syncd.plan.roles import Role
from syncd.reconcile.requests.operations import hold, publish
from syncd.state.access import tokens
from syncd.ui import watches

from tests.support.rooms import LORA, SDXL
from tests.unit.api.serving import Served
from tests.unit.reconcile.test_overview_statements import statements
from tests.unit.ui.person import Person, signed_in


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "POLL_EVERY_S", 0.05)
    monkeypatch.setattr(watches, "PROVE_EVERY_S", 0.2)


@contextmanager
def watching(ann: Person, path: str = "/ui/stream") -> Iterator[Iterator[str]]:
    with ann.client.stream("GET", path) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = (line for line in answer.iter_lines() if line)
        yield lines


def until(lines: Iterator[str], wanted: str) -> None:
    for line in lines:
        if line == wanted:
            return
    raise AssertionError(f"no {wanted}")


def test_a_page_is_told_of_what_changes_and_of_nothing_else(served: Served) -> None:
    with signed_in(served, Role.READ) as ann, watching(ann) as lines:
        until(lines, "event: changed")
        until(lines, ": keep-alive")
        hold(served.site.requester, SDXL, "eyes")
        until(lines, "event: changed")
        until(lines, ": keep-alive")


def test_a_releases_page_is_told_of_its_release_alone(served: Served) -> None:
    served.site.world.deliver(SDXL, "v1")
    asked = publish(served.site.requester, SDXL, "v1")
    with signed_in(served, Role.READ) as ann, watching(ann, f"/ui/stream?release={asked.id}") as lines:
        until(lines, "event: changed")
        until(lines, ": keep-alive")
        hold(served.site.requester, LORA, "eyes")
        assert [next(lines), next(lines)] == [": keep-alive"] * 2
        served.site.settle(patient=True)
        until(lines, "event: changed")


def test_a_stream_ends_with_its_session_so_that_the_browser_does_not_come_back(served: Served) -> None:
    with signed_in(served, Role.READ) as ann, watching(ann) as lines:
        until(lines, "event: changed")
        with served.state.write() as conn:
            tokens.revoke(conn, f"a-{Role.READ}er", "carol", served.state.now(conn))
        until(lines, "event: end")
        assert list(lines) == ["data: 1"]


def test_signing_out_ends_the_streams_of_the_session(served: Served) -> None:
    with signed_in(served, Role.READ) as ann, watching(ann) as lines:
        until(lines, "event: changed")
        cookies = dict(ann.client.cookies)
        with httpx.Client(base_url=served.url, cookies=cookies, trust_env=False) as other:
            Person(other).send("/ui/sign-out", "/ui")
        until(lines, "event: end")


def test_many_open_pages_cost_one_look_in_each_second(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "PROVE_EVERY_S", 30.0)
    reads: list[int] = []
    look = watches._poll

    async def counted(*arguments: object) -> None:
        reads.append(1)
        await look(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(watches, "_poll", counted)
    with signed_in(served, Role.READ) as ann:
        opened = [watching(ann) for _ in range(10)]
        for each in opened:
            until(each.__enter__(), "event: changed")
        assert reads == [1]
        with statements() as said:
            threading.Event().wait(0.5)
        assert len(said) <= 12 * 8, "ten pages were looked up for"
        for each in opened:
            each.__exit__(None, None, None)


def test_too_many_open_pages_are_told_when_to_come_again(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "STREAMS_EACH_MAX", 1)
    with signed_in(served, Role.READ) as ann, watching(ann) as lines:
        until(lines, "event: changed")
        refused = ann.open("/ui/stream")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "15")


def test_an_unknown_release_is_not_watched(served: Served) -> None:
    with signed_in(served, Role.READ) as ann:
        assert ann.open("/ui/stream?release=r-99").status_code == 404
