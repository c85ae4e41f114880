"""Refused callers: each leaves a counter and a bounded number of log lines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from syncd.api.limits.refused_callers import FORGOTTEN_S, KEPT_MAX, LINE_EVERY_S, LINES_MAX, OTHERS, RefusedCallers
from syncd.plan.roles import Role

from tests.support.rooms import Site
from tests.unit.api.deliveries import genuine, hook
from tests.unit.api.serving import Served, serving
from tests.unit.api.test_hooks import send

SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
GITHUB = next(each for each in genuine() if each.kind == "github")
UNKNOWN = "syncd_0123456789ab_" + "x" * 43


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


def test_one_caller_has_one_line_a_minute_and_a_count_of_all() -> None:
    clock = Clock()
    refused = RefusedCallers(clock)
    with capture_logs() as lines:
        for _ in range(5):
            refused.note("no token", "", "192.0.2.1")
        clock.now_s += LINE_EVERY_S
        refused.note("unknown token", "", "192.0.2.1")
    assert [(line["event"], line["count"]) for line in lines] == [("caller.refused", 1), ("caller.refused", 5)]
    (only,) = refused.listed()
    assert (only.count, only.reason, only.address) == (6, "unknown token", "192.0.2.1")
    assert (only.last_at - only.first_at).total_seconds() == LINE_EVERY_S


def test_however_many_addresses_there_are_few_lines_and_few_counters() -> None:
    clock = Clock()
    refused = RefusedCallers(clock)
    with capture_logs() as lines:
        for number in range(5000):
            refused.note("no token", "", f"2001:db8::{number:x}")
    assert len(lines) == LINES_MAX
    found = refused.listed()
    assert len(found) == KEPT_MAX + 1
    assert {each.address: each.count for each in found}[OTHERS] == 5000 - KEPT_MAX
    clock.now_s += FORGOTTEN_S
    assert refused.listed() == []
    refused.note("no token", "", "192.0.2.1")
    assert len(refused.listed()) == 1


def test_a_clock_that_is_set_back_silences_nothing() -> None:
    clock = Clock()
    refused = RefusedCallers(clock)
    with capture_logs() as lines:
        refused.note("no token", "", "192.0.2.1")
        clock.now_s -= 86400
        refused.note("no token", "", "192.0.2.1")
    assert len(lines) == 2


@SQLITE
def test_callers_of_the_api_and_of_webhooks_are_counted_by_their_names(at: Site, tmp_path: Path) -> None:
    with serving(at, {"models": hook(GITHUB, tmp_path)}, GITHUB.now_s) as served:
        served.get("/v1/status", None)
        served.call("GET", "/v1/status", headers={"Authorization": f"Bearer {UNKNOWN}"})
        served.post("/v1/models/sdxl/hold", Role.READ)
        forged = replace(GITHUB, headers={**GITHUB.headers, "x-hub-signature-256": "sha256=" + "0" * 64})
        send(served, forged)
        send(served, forged, "no-such-hook%1b%5b2J")
        found = served.get("/v1/refusals", Role.OPERATE)
        assert {(each["name"], each["reason"], each["count"]) for each in found.json()["refusals"]} == {
            ("", "unauthenticated", 3),
            ("a-reader", "role read where operate is needed", 1),
            ("models", "unauthenticated", 1),
        }
        assert served.get("/v1/refusals", Role.PUBLISH).status_code == 403


@SQLITE
def test_no_text_of_a_refused_caller_is_logged(served: Served) -> None:
    with capture_logs() as lines:
        served.post("/hooks/%1b%5b2J-guess?token=a-secret-of-someone", None, content=b"{}")
        served.call("GET", "/v1/status", headers={"Authorization": "Bearer a-secret-of-someone"})
    assert [line["event"] for line in lines] == ["caller.refused"]
    assert "someone" not in str(lines)
    assert "guess" not in str(lines)
