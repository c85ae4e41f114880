"""`/metrics`: the figures are those of the record, their number is bounded, and promtool finds no fault in them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families
from syncd.api.metrics import Metrics
from syncd.daemon.health import Health
from syncd.plan.binding import Binding
from syncd.plan.drift import Difference
from syncd.plan.phases import ReleasePhase
from syncd.plan.topology import Topology
from syncd.reconcile.requests.operations import hold, publish
from syncd.state.db.schema import live
from syncd.state.records import Live
from syncd.state.serving import drifts
from syncd.state.state import State

from tests.support.rooms import FLEET, LORA, SDXL, Site
from tests.unit.api.deliveries import hook
from tests.unit.api.serving import Served, serving
from tests.unit.api.test_hooks import MLFLOW, send

SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def values(text: str) -> dict[tuple[str, ...], float]:
    """The samples by name and label values, in the order of the labels' names."""
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scraped(served: Served) -> dict[tuple[str, ...], float]:
    answer = served.get("/metrics")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return values(answer.text)


def test_a_release_that_goes_live_is_counted_where_it_happened(served: Served, at: Site) -> None:
    before = scraped(served)
    assert before["syncd_releases_ended_total", "live"] == 0
    at.world.deliver(SDXL, "v1")
    release = publish(at.requester, SDXL, "v1").id
    assert scraped(served)["syncd_releases_in_flight", "requested"] == 1
    at.settle(patient=True)
    assert at.release(release).phase is ReleasePhase.LIVE
    after = scraped(served)
    assert after["syncd_releases_ended_total", "live"] == 1
    assert after["syncd_flips_total", "hangzhou"] == after["syncd_flips_total", "singapore"] == 1
    assert after["syncd_release_flip_skew_seconds_count",] == 1
    assert after["syncd_step_attempts_total", "flip", "done"] == 2
    assert after["syncd_step_seconds_count", "place"] == 1
    assert after["syncd_placements", "sealed", "hz"] == after["syncd_placements", "sealed", "sg"] == 1
    assert after["syncd_target_oldest_seal_timestamp_seconds", "hz"] > 0
    sent = after["syncd_target_copy_bytes", "sent", "hz"]
    with at.state.read() as conn:
        assert sent == conn.execute(sa.text("SELECT size_bytes FROM versions")).scalar_one()
    assert after["syncd_steps", "control", "waiting"] == after["syncd_releases_in_flight", "requested"] == 0
    assert scraped(served)["syncd_releases_ended_total", "live"] == 1, "each event is counted once"


def test_what_needs_a_person_is_a_figure(served: Served, at: Site) -> None:
    hold(at.requester, SDXL, "black images")
    (binding,) = (each for each in FLEET.bindings.values() if each.runtime == "singapore")
    with at.state.write() as conn:
        now = at.state.now(conn)
        recorded = Live(binding.name, "3", {SDXL: f"{SDXL}@v1"}, None, now)
        drifts.note(conn, recorded, [Difference("alias", "2", "3"), Difference("variable OWNER", "a", "b")], now)
    found = scraped(served)
    assert found["syncd_holds",] == 1
    assert found["syncd_drifts", "singapore", "alias"] == 1
    assert found["syncd_drifts", "singapore", "other"] == 1
    assert found["syncd_drifts", "hangzhou", "alias"] == 0


def test_regions_that_serve_different_versions_are_counted_when_no_release_is_in_flight(
    served: Served, at: Site
) -> None:
    at.world.deliver(SDXL, "v1")
    at.world.deliver(LORA, "v1")
    for model in (SDXL, LORA):
        publish(at.requester, model, "v1")
        at.settle(patient=True)
    assert scraped(served)["syncd_models_differing",] == 0
    with at.state.write() as conn:
        conn.execute(sa.text("UPDATE live SET models = '{}' WHERE binding = 'draw-sg'"))
    assert scraped(served)["syncd_models_differing",] == 1


@SQLITE
def test_deliveries_and_polls_are_counted_by_configured_names_only(at: Site, tmp_path: Path) -> None:
    with serving(at, {"models": hook(MLFLOW, tmp_path)}, MLFLOW.now_s) as served:
        assert send(served, MLFLOW).status_code == 202
        for name in ("models", "a", "b"):
            served.call("POST", f"/hooks/{name}", headers={"X-MLflow-Signature": "v1,AA"}, content=b"{}")
        served.pulse.record_poll("models")
        found = scraped(served)
    assert found["syncd_deliveries_total", "accepted", "models"] == 1
    assert found["syncd_deliveries_total", "refused", "models"] == 1
    assert found["syncd_deliveries_total", "refused", "unknown"] == 2
    assert not [key for key in found if {"a", "b"} & set(key)]
    assert found["syncd_deliveries_waiting", "models"] == 1
    assert found["syncd_registry_poll_ended_timestamp_seconds", "models"] > 0


@contextmanager
def counted_statements(state: State) -> Iterator[list[str]]:
    said: list[str] = []
    sa.event.listen(state._engine, "before_cursor_execute", lambda *given: said.append(given[2]))
    yield said


def fleet(models: int) -> Topology:
    """A topology with as many models, each served in two regions."""
    bindings: dict[str, Binding] = {}
    for number in range(models):
        for old in FLEET.bindings.values():
            bound = replace(old.models[0], model=f"m{number}", target="hz")
            made = replace(old, name=f"{old.name}-{number}", function=f"f{number}", models=(bound,))
            bindings[made.name] = made
    return replace(FLEET, bindings=bindings)


@SQLITE
def test_neither_statements_nor_series_grow_with_the_number_of_models(state: State) -> None:
    statements, series = [], []
    for models in (1, 200):
        topology = fleet(models)
        with state.write() as conn:
            conn.execute(sa.delete(live))
            for name, binding in topology.bindings.items():
                row = {"binding": name, "function_version": "1", "models": {binding.models[0].model: "x@v1"}}
                conn.execute(sa.insert(live).values(**row, since=state.now(conn)))
        metrics = Metrics(state, topology, Health(["models"], 1.0), ())
        with counted_statements(state) as said:
            text = metrics.scrape().decode()
        statements.append(len(said))
        series.append(len(values(text)))
    assert statements[0] == statements[1] <= 20
    assert series[0] == series[1]
    targets, regions, registries = 1, 2, 1  # that `fleet` serves from
    assert series[0] <= 220 + 3 * registries + 9 * targets + 7 * regions, "as documented"


def test_it_needs_a_token_and_says_so(served: Served) -> None:
    assert served.get("/metrics", None).status_code == 401


@SQLITE
@pytest.mark.needs_promtool
def test_promtool_finds_no_fault_in_the_text(served: Served) -> None:
    promtool = shutil.which("promtool")
    assert promtool is not None
    found = subprocess.run(
        [promtool, "check", "metrics"], input=served.get("/metrics").content, capture_output=True, check=False
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, b"", b"")
