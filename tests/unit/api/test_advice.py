"""Advice over HTTP, from the record and the runtimes: the facts, the reasons, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from syncd.client import Reader
from syncd.errors import NotFound
from syncd.plan.roles import Role
from syncd.values.function import InstanceSettings

from tests.support.rooms import DRAW, SDXL
from tests.unit.api.serving import Served
from tests.unit.api.test_routes import assert_described, went_live

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def reader(served: Served) -> Iterator[Reader]:
    went_live(served.site, "v1")
    with Reader(served.url, served.token(Role.READ), trust_env=False) as made:
        yield made


def texts(region: dict[str, list[dict[str, str]]]) -> dict[str, str]:
    return {reason["rule"]: reason["text"] for reason in region["reasons"]}


def test_versions_of_one_hour_are_no_rate_of_a_month(served: Served, reader: Reader) -> None:
    went_live(served.site, "v2")
    assert served.get(f"/v1/advice?model={SDXL}").json()["changes_a_month"] == 1.0


def test_the_live_version_is_advised_in_each_region(served: Served, reader: Reader) -> None:
    answer = served.get(f"/v1/advice?model={SDXL}")
    assert_described(answer, "/v1/advice")
    found = answer.json()
    assert (found["model"], found["version"]) == (SDXL, "v1")
    assert found["size_bytes"] > 0
    hangzhou, singapore = found["regions"]
    assert (hangzhou["region"], singapore["region"]) == ("hangzhou", "singapore")
    assert hangzhou["now"] == ["oss"]
    assert (hangzhou["peak_starts"], hangzhou["provisioned"]) == (1, False)
    assert "no earlier version" in texts(hangzhou)["record.history"]
    assert texts(hangzhou)["accelerator.zones"] == "no zone of hangzhou is known to have an accelerator"
    assert reader.advice(SDXL, "v1") == found


def test_starts_at_once_come_from_scaling_or_are_given(served: Served, reader: Reader) -> None:
    runtime = served.site.world.runtimes["hangzhou"]
    runtime.functions[DRAW].scaling["prod"] = {"scaling": {"minInstances": 2}}
    runtime.functions[DRAW].instance = InstanceSettings(concurrency=4)
    region = reader.advice(SDXL)["regions"][0]
    assert (region["peak_starts"], region["provisioned"]) == (2, True)
    assert reader.advice(SDXL, starts=12)["regions"][0]["peak_starts"] == 12
    assert reader.advice(SDXL, calls=9)["regions"][0]["peak_starts"] == 3
    with_both = reader.advice(SDXL, reads_twice=True, multi_zone=True)["regions"][0]
    assert {"oss.no-page-cache", "nas.one-zone"} <= set(texts(with_both))


def test_a_platform_that_does_not_answer_is_a_reason(served: Served, reader: Reader) -> None:
    del served.site.world.runtimes["hangzhou"].functions[DRAW]
    region = reader.advice(SDXL)["regions"][0]
    assert region["peak_starts"] is None
    assert "did not answer how instances scale" in texts(region)["platform.scaling"]


def test_a_version_that_only_the_registry_has_is_looked_up_there(served: Served, reader: Reader) -> None:
    served.site.world.deliver(SDXL, "v2")
    assert reader.advice(SDXL, "v2")["version"] == "v2"
    assert reader.advice(SDXL)["version"] == "v1"
    with pytest.raises(NotFound):
        reader.advice(SDXL, "v9")
    with pytest.raises(NotFound, match="no binding serves the model 'nobody'"):
        reader.advice("nobody")


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("", "model: expected a model's name"),
        ("?model=sdxl&starts=0", "starts: expected a number from 1 to 999999"),
        ("?model=sdxl&calls=many", "calls: expected a number from 1 to 999999"),
        ("?model=sdxl&multi_zone=yes", "multi_zone: expected true or false"),
        ("?model=sdxl&zones=2", "the query has an unknown key 'zones'"),
    ],
)
def test_a_query_that_is_not_valid(served: Served, query: str, says: str) -> None:
    answer = served.get(f"/v1/advice{query}")
    assert answer.status_code == 400
    assert says in answer.text
