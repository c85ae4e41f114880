"""The state machine of a container function during an update: its views, and what calls run."""

from collections.abc import Callable

import pytest
from alibabacloud_fc20230330.client import Client
from syncd.localcloud.faults import FaultRule, SetState
from syncd.localcloud.fc import PublishDuringUpdate, Settings

from tests.emulators.fc.calls import (
    Cloud,
    alias,
    container,
    create,
    eventually,
    get,
    invoke,
    publish,
    refused,
    shown_release,
    update,
)

MakeCloud = Callable[..., Cloud]


def scripted(cloud: Cloud, operation: str = "UpdateFunction", **values: object) -> None:
    cloud.faults.add(FaultRule("fc", SetState(values), operation=operation))


def later(cloud: Cloud, seconds: float) -> None:
    """Move the region's clock, and with it the preparation."""
    cloud.clock_offset_s[0] += seconds


def test_a_new_function_is_pending_then_active(make_cloud: MakeCloud) -> None:
    cloud = make_cloud(Settings(create_s=60))
    client = cloud.client()
    made = create(client)
    assert (made.state, made.state_reason, made.state_reason_code) == (
        "Pending",
        "Function creating",
        "Creating",
    )
    assert made.last_update_status == "Successful"
    status, code, message = refused(lambda: invoke(client))
    assert (status, code) == (412, "FunctionNotStarted")
    assert "is Pending" in message
    later(cloud, 61)
    assert get(client).state == "Active"
    assert invoke(client).status == 200


def test_a_new_function_that_fails_stays_failed_until_it_is_saved_again(cloud: Cloud, client: Client) -> None:
    scripted(cloud, "CreateFunction", end="Failed", reason_code="ImageNotFound", reason="no such image")
    create(client)
    shown = get(client)
    assert (shown.state, shown.state_reason, shown.state_reason_code) == (
        "Failed",
        "no such image",
        "ImageNotFound",
    )
    assert "no such image" in refused(lambda: invoke(client))[2]
    update(client)
    assert get(client).state == "Active"
    assert invoke(client).status == 200


def test_while_an_update_is_in_progress_the_new_is_shown_and_the_old_is_run(cloud: Cloud, client: Client) -> None:
    create(client, environment_variables={"RELEASE": "old"})
    scripted(cloud, in_progress_s=60, reason_code="ImageOptimizing")
    updated = update(client, environment_variables={"RELEASE": "new"})
    assert (updated.state, updated.last_update_status) == ("Active", "InProgress")
    assert updated.last_update_status_reason_code == "ImageOptimizing"
    assert get(client).environment_variables == {"RELEASE": "new"}
    assert shown_release(client) == "old"
    later(cloud, 61)
    assert get(client).last_update_status == "Successful"
    assert shown_release(client) == "new"


def test_a_failed_update_goes_on_running_the_old_until_it_is_saved_again(cloud: Cloud, client: Client) -> None:
    create(client, environment_variables={"RELEASE": "old"})
    scripted(cloud, end="Failed", reason_code="ImageOptimizeTimeout", reason="timed out")
    update(client, environment_variables={"RELEASE": "new"})
    shown = get(client)
    assert (shown.state, shown.last_update_status) == ("Active", "Failed")
    assert shown.last_update_status_reason_code == "ImageOptimizeTimeout"
    assert shown.last_update_status_reason == "timed out"
    assert shown_release(client) == "old"
    update(client, environment_variables={"RELEASE": "new"})
    assert get(client).last_update_status == "Successful"
    assert shown_release(client) == "new"


def test_saving_again_without_a_change_starts_over(cloud: Cloud, client: Client) -> None:
    create(client)
    scripted(cloud, in_progress_s=60)
    assert update(client).last_update_status == "InProgress"
    scripted(cloud, in_progress_s=60)
    later(cloud, 40)
    assert update(client).last_update_status == "InProgress"
    later(cloud, 40)
    assert get(client).last_update_status == "InProgress"
    later(cloud, 40)
    assert get(client).last_update_status == "Successful"


def test_the_real_clock_ends_an_update_too(make_cloud: MakeCloud) -> None:
    client = make_cloud(Settings(create_s=0.05, update_s=0.05)).client()
    create(client)
    eventually(lambda: bool(get(client).state == "Active"))
    update(client, timeout=11)
    eventually(lambda: bool(get(client).last_update_status == "Successful"))


def test_publishing_during_an_update_is_refused(cloud: Cloud, client: Client) -> None:
    create(client)
    scripted(cloud, in_progress_s=60)
    update(client, timeout=11)
    assert refused(lambda: publish(client))[:2] == (409, "ConcurrentUpdateError")
    later(cloud, 61)
    assert publish(client) == "1"


@pytest.mark.parametrize("end", ["Successful", "Failed"])
def test_where_publishing_during_an_update_is_allowed_the_version_is_as_ready_as_the_update(
    make_cloud: MakeCloud, end: str
) -> None:
    settings = Settings(create_s=0, publish_during_update=PublishDuringUpdate.SNAPSHOT)
    cloud = make_cloud(settings)
    client = cloud.client()
    create(client, environment_variables={"RELEASE": "old"})
    scripted(cloud, in_progress_s=60, end=end)
    update(client, environment_variables={"RELEASE": "new"})
    alias(client, publish(client))
    assert get(client, qualifier="1").state == "Pending"
    assert refused(lambda: invoke(client, "prod"))[:2] == (412, "FunctionNotStarted")
    later(cloud, 61)
    if end == "Successful":
        assert (get(client, qualifier="1").state, shown_release(client, "prod")) == ("Active", "new")
    else:
        assert get(client, qualifier="1").state == "Failed"
        assert refused(lambda: invoke(client, "prod"))[:2] == (412, "FunctionNotStarted")


def test_a_version_published_from_a_failed_update_does_not_run(cloud: Cloud, client: Client) -> None:
    create(client, environment_variables={"RELEASE": "old"})
    scripted(cloud, end="Failed")
    update(client, environment_variables={"RELEASE": "new"})
    assert refused(lambda: invoke(client, publish(client)))[:2] == (412, "FunctionNotStarted")
    assert shown_release(client) == "old"


def test_overwriting_a_tag_breaks_what_resolved_it_before(cloud: Cloud, client: Client) -> None:
    image = container(image="r/show:v1")
    cloud.region.put_image("r/show:v1", digest="sha256:" + "a" * 64)
    create(client, custom_container_config=image)
    alias(client, publish(client))
    assert invoke(client).status == 200
    cloud.region.put_image("r/show:v1", digest="sha256:" + "b" * 64)
    status, code, message = refused(lambda: invoke(client))
    assert (status, code) == (412, "FunctionNotStarted")
    assert "now it is sha256:bbb" in message
    assert get(client).state == "Failed"
    assert refused(lambda: invoke(client, "prod"))[0] == 412
    update(client, custom_container_config=image)
    assert (get(client).state, invoke(client).status) == ("Active", 200)
    assert refused(lambda: invoke(client, "prod"))[0] == 412


def test_a_deleted_image_breaks_its_function(cloud: Cloud, client: Client) -> None:
    cloud.region.put_image("r/show:v1")
    create(client, custom_container_config=container(image="r/show:v1"))
    cloud.region.remove_image("r/show:v1")
    assert "no longer exists" in refused(lambda: invoke(client))[2]
    assert (get(client).state, get(client).state_reason_code) == ("Failed", "ImageNotFound")
