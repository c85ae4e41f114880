"""Recorded starts: medians, tails and stages by version, region and storage, and the version before."""

from __future__ import annotations

from dataclasses import replace

import pytest
from syncd.errors import NotFound
from syncd.reconcile.requests.operations import publish
from syncd.reconcile.views.cold_starts import _stages
from syncd.reconcile.views.starts import starts
from syncd.state.records import LoadTime
from syncd.state.serving import load_times
from syncd.values.function import ProbeReport

from tests.support.rooms import FLEET, LORA, NOON, SDXL, Site


def released(here: Site, version: str) -> LoadTime:
    here.world.deliver(SDXL, version)
    release = publish(here.requester, SDXL, version)
    here.settle()
    with here.state.read() as conn:
        return load_times.of_release(conn, release.id)[0]


def note(here: Site, time: LoadTime, *seconds: float, cold: bool = True) -> None:
    with here.state.write() as conn:
        for number, each in enumerate(seconds):
            stages = {"start": round(each * 500), "load.read": round(each * 250)}
            row = replace(time, binding=f"b{cold}{number}", region="tokyo", target_kind="nas", cold=cold)
            load_times.note(conn, replace(row, answer_ms=round(each * 1000), stages=stages, at=NOON))


def test_medians_tails_and_stages_and_how_the_newest_version_compares(on_each: Site) -> None:
    first = released(on_each, "v1")
    note(on_each, first, 10, 20, 40)
    second = released(on_each, "v2")
    note(on_each, second, *range(1, 21))
    note(on_each, second, 0.5, cold=False)
    rows = starts(on_each.state, FLEET, SDXL)["starts"]
    newest, before = (row for row in rows if row["region"] == "tokyo")
    assert (newest["version"], newest["cold_starts"], newest["others"]) == ("v2", 20, 1)
    assert (newest["median_s"], newest["p95_s"]) == (10.5, 19.0)
    assert newest["than_before"] == 0.525
    assert newest["stages_s"] == {"start": 5.25, "load.read": 2.625}  # the warm start shortens no stage
    assert (before["version"], before["median_s"], before["p95_s"], before["than_before"]) == ("v1", 20.0, 40.0, None)
    assert before["stages_s"] == {"start": 10.0, "load.read": 5.0}
    assert before["size_bytes"] > 0
    assert [row["version"] for row in rows] == ["v2"] * 3 + ["v1"] * 3
    assert starts(on_each.state, FLEET)["starts"] == rows


def test_without_history_there_is_nothing(on_sqlite: Site) -> None:
    assert starts(on_sqlite.state, FLEET, LORA) == {"starts": []}
    with pytest.raises(NotFound):
        starts(on_sqlite.state, FLEET, "nobody")


@pytest.mark.parametrize(
    ("report", "ready_s", "stages"),
    [
        (ProbeReport(b"", 3.0), None, {}),
        (ProbeReport(b"", 3.0), 61.0, {"ready": 61_000}),
        (ProbeReport(b"", 3.0, inside_s=2.0), None, {"start": 1000, "answer": 2000}),
        (ProbeReport(b"", 3.0, inside_s=2.0, load_s=1.5), None, {"start": 1000, "load": 1500, "answer": 500}),
        (ProbeReport(b"", 3.0, inside_s=2.0, load_s=9.0), None, {"start": 1000, "load": 9000}),
        (
            ProbeReport(b"", 3.0, inside_s=2.0, load_s=1.5, load_stages_s={"find": 0.5, "read": 1.0}),
            None,
            {"start": 1000, "load.find": 500, "load.read": 1000, "answer": 500},
        ),
    ],
)
def test_the_stages_that_a_probe_can_see(report: ProbeReport, ready_s: float | None, stages: dict[str, int]) -> None:
    assert _stages(report, ready_s) == stages
