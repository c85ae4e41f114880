"""Refused callers: each leaves a counter and a bounded number of log lines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from syncd.api.limits.refused_callers import FORGOTTEN_S, KEPT_MAX, LINE_EVERY_S, LINES_MAX, OTHERS, RefusedCallers
from syncd.cli.main import main
from syncd.plan.roles import Role
from syncd.reconcile.views.overview import overview
from syncd.state.access import refusals
from syncd.state.access.refusals import KEPT, RefusalCount, RefusalSummary

from tests.acceptance.stage import until
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


def test_the_summary_counts_all_and_lists_the_most_frequent() -> None:
    clock = Clock()
    refused = RefusedCallers(clock)
    for number in range(1, 9):
        for _ in range(number):
            refused.note("no token", "", f"192.0.2.{number}")
    found = refused.summary()
    assert found.total == sum(range(1, 9))
    assert [(each.address, each.count) for each in found.top] == [(f"192.0.2.{n}", n) for n in (8, 7, 6, 5, 4)]


@SQLITE
def test_status_and_health_show_refused_callers_to_those_who_may_list_them(
    at: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncd.api.dependencies.REPORT_REFUSALS_S", 0.02)
    with serving(at) as served:
        _refused_callers_are_shown(served, capsys, monkeypatch)


def _refused_callers_are_shown(
    served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert served.get("/v1/status", Role.OPERATE).json()["refused"] is None
    for _ in range(3):
        served.get("/v1/status", None)
    served.post("/v1/models/sdxl/hold", Role.READ)
    until(lambda: (served.get("/v1/status").json()["refused"] or {}).get("total") == 4, "the report of the API")
    for path in ("/v1/status", "/v1/health"):
        shown = served.get(path, Role.OPERATE).json()["refused"]
        assert [(each["name"], each["count"]) for each in shown["callers"]] == [("", 3), ("a-reader", 1)]
        assert served.get(path, Role.READ).json()["refused"] == {"total": 4, "callers": []}
    beside = overview(served.state, served.site.context.topology)
    assert [each["count"] for each in beside["refused"]["callers"]] == [3, 1]
    token = served.token(Role.OPERATE)
    for command in ("status", "health"):
        capsys.readouterr()
        monkeypatch.setenv("SYNCD_TOKEN", token)
        with pytest.raises(SystemExit):
            main([command, "--server", served.url])
        out = capsys.readouterr().out
        assert "refused: 4 requests in the last hour\n   127.0.0.1 3×, last " in out
        assert "   a-reader@127.0.0.1 1×, last " in out
        assert "role read where operate is needed" in out


@SQLITE
def test_refusals_are_forgotten_an_hour_after_the_last(served: Served) -> None:
    with served.state.write() as conn:
        now = served.state.now(conn)
        old = RefusalCount("", "192.0.2.1", "no token", 3, now - 2 * KEPT, now - KEPT)
        refusals.write(conn, RefusalSummary.of([old]), now - KEPT)
    assert overview(served.state, served.site.context.topology)["refused"] is None


@SQLITE
def test_no_text_of_a_refused_caller_is_logged(served: Served) -> None:
    with capture_logs() as lines:
        served.post("/hooks/%1b%5b2J-guess?token=a-secret-of-someone", None, content=b"{}")
        served.call("GET", "/v1/status", headers={"Authorization": "Bearer a-secret-of-someone"})
    assert [line["event"] for line in lines] == ["caller.refused"]
    assert "someone" not in str(lines)
    assert "guess" not in str(lines)
