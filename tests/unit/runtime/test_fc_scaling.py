"""Scaling of an alias on Function Compute: both kinds, including settings made outside syncd."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from alibabacloud_fc20230330 import models
from alibabacloud_fc20230330.client import Client
from syncd.errors import Failed, NotFound, Unavailable
from syncd.localcloud.faults import Action, FaultRule, Reset, Respond, SetState
from syncd.runtime.base import ignore_waits
from syncd.runtime.fc.runtime import FcRuntime
from syncd.values.function import Change, Probe

from tests.support.fc_clouds import FcCloud, fresh_function

NIGHT = models.ScheduledAction(
    name="night", start_time="2026-01-01T00:00:00Z", target=0, schedule_expression="cron(0 0 20 * * *)"
)
_numbers = itertools.count(1)


@pytest.fixture
def name(fc: FcCloud, client: Client, runtime: FcRuntime) -> Iterator[str]:
    """A function with one version, and an alias `prod` on it."""
    name = f"scaled-{next(_numbers)}"
    fresh_function(fc, client, name)
    runtime.stage(name, Change((), {"A": "1"}), "t", known=(), waiting=ignore_waits)
    runtime.flip(name, "prod", "1", None)
    yield name
    fc.faults.clear()


def provision(client: Client, name: str, **settings: object) -> None:
    body = models.PutProvisionConfigInput(**settings)
    client.put_provision_config(name, models.PutProvisionConfigRequest(body=body, qualifier="prod"))


def script(fc: FcCloud, operation: str, action: Action) -> None:
    fc.faults.add(FaultRule("fc", action, operation=operation, times=0))


def test_both_kinds_are_read_together_with_all_that_was_set(client: Client, runtime: FcRuntime, name: str) -> None:
    provision(client, name, default_target=2, always_allocate_gpu=True, scheduled_actions=[NIGHT])
    body = models.PutScalingConfigInput(min_instances=3, enable_on_demand_scaling=True)
    client.put_scaling_config(name, models.PutScalingConfigRequest(body=body, qualifier="prod"))
    found = runtime.scaling(name, "prod")
    assert (found.target, found.current, found.error) == (5, 5, "")
    assert found.settings["scaling"] == {"minInstances": 3, "enableOnDemandScaling": True}
    assert found.settings["provision"]["alwaysAllocateGPU"] is True
    assert found.settings["provision"]["scheduledActions"] == [NIGHT.to_map()]


def test_more_instances_are_put_without_losing_the_policies_that_were_there(
    client: Client, runtime: FcRuntime, name: str
) -> None:
    provision(client, name, default_target=1, scheduled_actions=[NIGHT])
    before = runtime.scaling(name, "prod")
    runtime.scale(name, "prod", before.settings, least=4)
    held = client.get_provision_config(name, models.GetProvisionConfigRequest(qualifier="prod")).body
    assert (held.default_target, [action.name for action in held.scheduled_actions]) == (4, ["night"])
    assert set(runtime.scaling(name, "prod").settings) == {"provision"}, "one kind is not mixed with the other"
    runtime.scale(name, "prod", before.settings)
    assert runtime.scaling(name, "prod") == before


def test_where_both_kinds_are_the_minimum_is_raised(client: Client, runtime: FcRuntime, name: str) -> None:
    provision(client, name, default_target=1)
    runtime.scale(name, "prod", {**runtime.scaling(name, "prod").settings, "scaling": {"minInstances": 1}}, least=5)
    found = runtime.scaling(name, "prod")
    counts = (found.settings["provision"]["defaultTarget"], found.settings["scaling"]["minInstances"])
    assert (found.target, counts) == (5, (1, 4))


def test_equal_settings_are_not_put_again(fc: FcCloud, runtime: FcRuntime, name: str) -> None:
    runtime.scale(name, "prod", {}, least=2)
    script(fc, "PutScalingConfig", Respond(500, body=""))
    runtime.scale(name, "prod", {}, least=2)
    with pytest.raises(Unavailable):
        runtime.scale(name, "prod", {}, least=3)


def test_the_reason_for_missing_instances_is_reported(fc: FcCloud, runtime: FcRuntime, name: str) -> None:
    script(fc, "PutScalingConfig", SetState({"end": "Failed", "reason": "Resources are being replenished"}))
    runtime.scale(name, "prod", {}, least=2)
    found = runtime.scaling(name, "prod")
    assert (found.target, found.current, found.error) == (2, 0, "Resources are being replenished")


def test_a_failed_read_is_not_absence(fc: FcCloud, runtime: FcRuntime, name: str) -> None:
    runtime.scale(name, "prod", {}, least=2)
    for action in (Reset(), Respond(502, body="<html>"), Respond(200, body=""), Respond(200, body="{}")):
        script(fc, "GetScalingConfig", action)
        with pytest.raises(Unavailable):
            runtime.scaling(name, "prod")
        fc.faults.clear()


def test_a_refusal_of_the_platform_is_reported(runtime: FcRuntime, name: str) -> None:
    with pytest.raises(Failed, match="minInstances is 10001"):
        runtime.scale(name, "prod", {}, least=10_001)
    with pytest.raises(NotFound):
        runtime.scaling(name, "nowhere")


def test_the_platforms_time_within_the_function_is_in_the_report(runtime: FcRuntime, name: str) -> None:
    report = runtime.probe(name, "prod", "1", Probe(b'{"sleep_s": 0.1}', (), 10.0))
    assert report.inside_s is not None
    assert 0.1 <= report.inside_s <= report.seconds
