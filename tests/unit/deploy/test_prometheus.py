"""Rules and dashboard: their metrics exist, their tests pass, and a real Prometheus answers each query."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from syncd.plan.roles import Role
from syncd.reconcile.requests.operations import publish
from syncd.state.state import State

from tests.support.rooms import SDXL, World, site
from tests.unit.api.serving import Served, serving

ROOT: Final = Path(__file__).parents[3]
FOLDER: Final = ROOT / "deploy" / "prometheus"
RULES: Final = [
    rule for group in yaml.safe_load((FOLDER / "syncd.rules.yml").read_text())["groups"] for rule in group["rules"]
]
PANELS: Final = json.loads((FOLDER / "syncd.dashboard.json").read_text())["panels"]
QUERIES: Final = {panel["title"]: target["expr"] for panel in PANELS for target in panel["targets"]}
START_S: Final = 60.0


@pytest.fixture
def served(tmp_path: Path, state: State) -> Iterator[Served]:
    """A server of a record in which a release has just gone live."""
    world = World(tmp_path / "registry")
    at = site(world, state)
    with serving(at) as made:
        world.deliver(SDXL, "v1")
        publish(at.requester, SDXL, "v1")
        at.settle(patient=True)
        made.pulse.record_poll("models")
        yield made


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\b(?:syncd|process)_[a-z_]+", text))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_rules_dashboard_and_documentation_name_metrics_that_are_served(served: Served) -> None:
    families = list(text_string_to_metric_families(served.get("/metrics").text))
    samples = {sample.name for family in families for sample in family.samples}
    for text in (*(rule["expr"] for rule in RULES), *QUERIES.values()):
        assert names_in(text) <= samples, text
    table = re.findall(r"^\| (`syncd_.*?) \|", (ROOT / "docs/how-to/metrics.md").read_text(), re.MULTILINE)
    ours = {each.name + ("_total" if each.type == "counter" else "") for each in families}
    assert {name for row in table for name in names_in(row)} == {name for name in ours if name.startswith("syncd_")}


@pytest.mark.needs_promtool
@pytest.mark.parametrize("asked", [("check", "rules", "syncd.rules.yml"), ("test", "rules", "syncd.rules.test.yml")])
def test_promtool_accepts_the_rules_and_their_tests(asked: tuple[str, ...]) -> None:
    found = subprocess.run(["promtool", *asked], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_every_rule_has_a_test_that_fires_and_a_severity() -> None:
    tests = yaml.safe_load((FOLDER / "syncd.rules.test.yml").read_text())["tests"]
    fired = {each["alertname"] for test in tests for each in test["alert_rule_test"] if each["exp_alerts"]}
    assert fired == {rule["alert"] for rule in RULES}
    assert {rule["labels"]["severity"] for rule in RULES} == {"page", "ticket"}


@contextmanager
def prometheus(root: Path, served: Served) -> Iterator[str]:
    """Debian's Prometheus, which scrapes the server each second."""
    program = shutil.which("prometheus")
    assert program is not None
    (root / "token").write_text(served.token(Role.READ))
    scrape: dict[str, Any] = {
        "job_name": "syncd",
        "scrape_interval": "1s",
        "authorization": {"credentials_file": str(root / "token")},
        "static_configs": [{"targets": [served.url.removeprefix("http://")]}],
    }
    config = {"rule_files": [str(FOLDER / "syncd.rules.yml")], "scrape_configs": [scrape]}
    (root / "prometheus.yml").write_text(yaml.safe_dump(config))
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        port = chosen.getsockname()[1]
    options = [f"--config.file={root / 'prometheus.yml'}", f"--storage.tsdb.path={root / 'tsdb'}"]
    process = subprocess.Popen([program, *options, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def asked(url: str, query: str) -> list[dict[str, Any]]:
    """The series of a query; none while the server starts."""
    try:
        answer = httpx.get(f"{url}/api/v1/query", params={"query": query}, trust_env=False, timeout=10)
    except httpx.TransportError:
        return []
    assert answer.status_code in {200, 503}, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]["result"] if answer.status_code == 200 else []
    return found


@pytest.mark.needs_promtool
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_every_query_of_the_dashboard_has_series_in_a_real_prometheus(served: Served, tmp_path: Path) -> None:
    with prometheus(tmp_path, served) as url:
        missing = dict(QUERIES)
        for _ in range(int(START_S / 0.25)):
            missing = {title: query for title, query in missing.items() if not asked(url, query)}
            if not missing:
                break
            time.sleep(0.25)
        assert missing == {}
        (up,) = asked(url, 'up{job="syncd"}')
        assert up["value"][1] == "1"
        assert asked(url, "ALERTS") == []
