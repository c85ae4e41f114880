"""Provisioned and minimum instances: on an alias or LATEST only, across flips, over time."""

from collections.abc import Callable

import pytest
from alibabacloud_fc20230330 import models
from alibabacloud_fc20230330.client import Client
from syncd.localcloud.faults import FaultRule, SetState
from syncd.localcloud.fc import Settings

from tests.emulators.fc.calls import Cloud, alias, create, flip, refused, release


@pytest.fixture
def slow(make_cloud: Callable[..., Cloud]) -> Cloud:
    """A function with two versions and an alias, where instances take a minute."""
    cloud = make_cloud(Settings(create_s=0, update_s=0, converge_s=60))
    client = cloud.client()
    create(client)
    release(client, "a")
    release(client, "b")
    alias(client, "1")
    return cloud


def hold(client: Client, count: int, qualifier: str | None = "prod") -> models.ProvisionConfig:
    body = models.PutProvisionConfigInput(default_target=count)
    request = models.PutProvisionConfigRequest(body=body, qualifier=qualifier)
    return client.put_provision_config("show", request).body


def held(client: Client, qualifier: str | None = "prod") -> models.ProvisionConfig:
    return client.get_provision_config("show", models.GetProvisionConfigRequest(qualifier=qualifier)).body


def scale(client: Client, least: int) -> None:
    body = models.PutScalingConfigInput(min_instances=least)
    client.put_scaling_config("show", models.PutScalingConfigRequest(body=body, qualifier="prod"))


def scaled(client: Client) -> tuple[int, int]:
    request = models.GetScalingConfigRequest(qualifier="prod")
    status = client.get_scaling_config("show", request).body
    return status.current_instances, status.target_instances


def test_provisioned_instances_come_in_their_own_time(slow: Cloud) -> None:
    client = slow.client()
    put = hold(client, 2)
    assert (put.target, put.current) == (2, 0)
    slow.clock_offset_s[0] += 61
    assert (held(client).current, held(client).current_error) == (2, "")
    assert held(client).function_arn.endswith("functions/show/prod")
    hold(client, 5)
    assert (held(client).target, held(client).current) == (5, 2)


def test_a_flip_keeps_the_configuration_and_makes_the_instances_anew(slow: Cloud) -> None:
    client = slow.client()
    hold(client, 2)
    scale(client, 3)
    slow.clock_offset_s[0] += 61
    assert (held(client).current, scaled(client)) == (2, (3, 3))
    flip(client, description="nothing moves")
    assert held(client).current == 2
    flip(client, version_id="2")
    assert ((held(client).target, held(client).current), scaled(client)) == ((2, 0), (0, 3))
    slow.clock_offset_s[0] += 61
    assert (held(client).current, scaled(client)) == (2, (3, 3))


def test_instances_that_can_not_be_had_say_why_for_as_long_as_nothing_is_put_again(slow: Cloud) -> None:
    client = slow.client()
    values = {"end": "Failed", "reason": "Resources are being replenished"}
    slow.faults.add(FaultRule("fc", SetState(values), operation="PutProvisionConfig", resource="show/prod"))
    hold(client, 2)
    slow.clock_offset_s[0] += 61
    assert (held(client).current, held(client).current_error) == (0, "Resources are being replenished")
    hold(client, 2)
    slow.clock_offset_s[0] += 61
    assert (held(client).current, held(client).current_error) == (2, "")


def test_as_many_are_shown_as_ready_as_a_script_lets_be_and_all_when_it_is_forgotten(cloud: Cloud) -> None:
    client = cloud.client()
    create(client)
    release(client, "a")
    alias(client, "1")
    scale(client, 3)
    cloud.faults.add(FaultRule("fc", SetState({"ready_at_most": 1}), operation="GetScalingConfig", times=0))
    assert scaled(client) == scaled(client) == (1, 3)
    cloud.faults.clear()
    assert scaled(client) == (3, 3)


def test_a_version_holds_no_instances(slow: Cloud) -> None:
    client = slow.client()
    assert refused(lambda: hold(client, 1, "1"))[:2] == (400, "InvalidArgument")
    assert refused(lambda: hold(client, 1, "ghost"))[:2] == (404, "AliasNotFound")
    assert hold(client, 1, None).target == 1
    assert held(client, "LATEST").target == 1


@pytest.mark.parametrize("count", [-1, 10_001])
def test_a_count_that_may_not_be_is_refused(slow: Cloud, count: int) -> None:
    assert refused(lambda: hold(slow.client(), count))[:2] == (400, "InvalidArgument")


def test_what_was_never_put_is_not_found(slow: Cloud) -> None:
    client = slow.client()
    assert refused(lambda: held(client))[:2] == (404, "ProvisionConfigNotFound")
    assert refused(lambda: scaled(client))[:2] == (404, "ScalingConfigNotFound")


def test_a_function_with_held_instances_is_not_deleted(slow: Cloud) -> None:
    client = slow.client()
    hold(client, 1)
    assert refused(lambda: client.delete_function("show"))[1] == "ProvisionConfigExist"
    client.delete_provision_config("show", models.DeleteProvisionConfigRequest(qualifier="prod"))
    scale(client, 1)
    assert refused(lambda: client.delete_function("show"))[1] == "ProvisionConfigExist"
    client.delete_scaling_config("show", models.DeleteScalingConfigRequest(qualifier="prod"))
    client.delete_function("show")


def test_an_alias_takes_its_instances_with_it(slow: Cloud) -> None:
    client = slow.client()
    hold(client, 1)
    client.delete_alias("show", "prod")
    alias(client, "2")
    assert refused(lambda: held(client))[1] == "ProvisionConfigNotFound"


def test_held_instances_are_listed_by_function(slow: Cloud) -> None:
    client = slow.client()
    create(client, "other")
    hold(client, 1)
    hold(client, 2, "LATEST")
    scale(client, 3)
    provision = client.list_provision_configs(models.ListProvisionConfigsRequest(function_name="show")).body
    assert [c.target for c in provision.provision_configs] == [2, 1]
    nothing = client.list_provision_configs(models.ListProvisionConfigsRequest(function_name="other")).body
    assert nothing.provision_configs == []
    scaling = client.list_scaling_configs(models.ListScalingConfigsRequest()).body
    assert [c.min_instances for c in scaling.scaling_configs] == [3]


def test_reserved_concurrency_is_put_read_listed_and_deleted(slow: Cloud) -> None:
    client = slow.client()
    assert refused(lambda: client.get_concurrency_config("show"))[:2] == (404, "ConcurrencyConfigNotFound")
    body = models.PutConcurrencyInput(reserved_concurrency=7)
    client.put_concurrency_config("show", models.PutConcurrencyConfigRequest(body=body))
    assert client.get_concurrency_config("show").body.reserved_concurrency == 7
    listed = client.list_concurrency_configs(models.ListConcurrencyConfigsRequest()).body
    assert [c.reserved_concurrency for c in listed.configs] == [7]
    client.delete_concurrency_config("show")
    assert refused(lambda: client.get_concurrency_config("show"))[0] == 404
    bad = models.PutConcurrencyInput(reserved_concurrency=-1)
    request = models.PutConcurrencyConfigRequest(body=bad)
    assert refused(lambda: client.put_concurrency_config("show", request))[0] == 400
