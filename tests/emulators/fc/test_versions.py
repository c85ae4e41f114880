"""Published versions and aliases through the vendor's client."""

from collections.abc import Callable

import pytest
from alibabacloud_fc20230330 import models
from alibabacloud_fc20230330.client import Client
from syncd.localcloud.fc import Settings

from tests.emulators.fc.calls import (
    Cloud,
    alias,
    container,
    create,
    flip,
    get,
    invoke,
    publish,
    refused,
    release,
    update,
)


def versions(client: Client, direction: str | None = None, limit: int | None = None) -> list[str]:
    """Every version id, page by page."""
    ids: list[str] = []
    token = None
    while token != "":
        request = models.ListFunctionVersionsRequest(direction=direction, limit=limit, next_token=token)
        page = client.list_function_versions("show", request).body
        ids += [v.version_id for v in page.versions]
        token = page.next_token
    return ids


@pytest.fixture
def released(client: Client) -> Client:
    """A function with versions 1, 2 and 3."""
    create(client)
    assert [release(client, value) for value in "abc"] == ["1", "2", "3"]
    return client


def test_a_version_keeps_what_was_published_while_latest_moves_on(client: Client) -> None:
    create(client, environment_variables={"RELEASE": "a"})
    first = publish(client, description="release-1")
    update(client, environment_variables={"RELEASE": "b"}, description="of the function")
    frozen = get(client, qualifier=first)
    assert (frozen.environment_variables, frozen.description) == ({"RELEASE": "a"}, "release-1")
    assert get(client).environment_variables == {"RELEASE": "b"}
    assert get(client, qualifier="LATEST").environment_variables == {"RELEASE": "b"}


def test_publishing_without_a_change_is_an_error(client: Client) -> None:
    create(client)
    publish(client)
    status, code, message = refused(lambda: publish(client, description="another"))
    assert (status, code) == (400, "VersionPublishError")
    assert "No changes were made since last publish" in message


def test_a_description_is_not_a_change(client: Client) -> None:
    create(client)
    publish(client)
    update(client, description="only words")
    assert refused(lambda: publish(client))[1] == "VersionPublishError"


def test_a_change_taken_back_is_no_change(client: Client) -> None:
    create(client, timeout=10)
    publish(client)
    update(client, timeout=11)
    update(client, timeout=10)
    assert refused(lambda: publish(client))[1] == "VersionPublishError"


def test_a_tag_that_names_another_image_now_is_a_change(cloud: Cloud, client: Client) -> None:
    cloud.region.put_image("r/show:v1", digest="sha256:" + "a" * 64)
    create(client, custom_container_config=container(image="r/show:v1"))
    publish(client)
    cloud.region.put_image("r/show:v1", digest="sha256:" + "b" * 64)
    update(client, custom_container_config=container(image="r/show:v1"))
    assert publish(client) == "2"


def test_the_status_of_an_unchanged_publish_is_a_setting(make_cloud: Callable[..., Cloud]) -> None:
    client = make_cloud(Settings(create_s=0, publish_unchanged_status=409)).client()
    create(client)
    publish(client)
    assert refused(lambda: publish(client))[:2] == (409, "VersionPublishError")


def test_versions_are_listed_newest_first_or_oldest_first_in_pages(released: Client) -> None:
    for _ in range(8):
        release(released, f"more-{_}")
    newest_first = [str(n) for n in range(11, 0, -1)]
    assert versions(released, limit=4) == newest_first
    assert versions(released, "BACKWARD", 100) == newest_first
    assert versions(released, "FORWARD", 3) == newest_first[::-1]
    assert refused(lambda: versions(released, "SIDEWAYS"))[:2] == (400, "InvalidArgument")


def test_a_number_is_never_used_again(released: Client) -> None:
    released.delete_function_version("show", "3")
    assert release(released, "d") == "4"
    assert versions(released) == ["4", "2", "1"]


def test_the_last_publish_counts_even_when_its_version_is_gone(released: Client) -> None:
    released.delete_function_version("show", "3")
    assert refused(lambda: publish(released))[1] == "VersionPublishError"


def test_deleting_a_version_that_is_not_there_or_latest_is_refused(released: Client) -> None:
    assert refused(lambda: released.delete_function_version("show", "9"))[:2] == (404, "VersionNotFound")
    assert refused(lambda: released.delete_function_version("show", "LATEST"))[0] == 400


def test_a_deleted_version_leaves_its_alias_dangling(released: Client) -> None:
    alias(released, "2")
    released.delete_function_version("show", "2")
    assert released.get_alias("show", "prod").body.version_id == "2"
    assert refused(lambda: invoke(released, "prod"))[:2] == (404, "VersionNotFound")
    assert refused(lambda: get(released, qualifier="prod"))[:2] == (404, "VersionNotFound")


def test_an_alias_is_made_read_moved_listed_and_deleted(released: Client) -> None:
    assert alias(released, "1", {"2": 0.25}).additional_version_weight == {"2": 0.25}
    assert get(released, qualifier="prod").environment_variables == {"RELEASE": "a"}
    flip(released, version_id="2", additional_version_weight={"1": 0.5})
    body = released.get_alias("show", "prod").body
    assert (body.version_id, body.additional_version_weight) == ("2", {"1": 0.5})
    alias(released, "3", alias_name="candidate")
    listed = released.list_aliases("show", models.ListAliasesRequest(limit=1)).body
    assert ([a.alias_name for a in listed.aliases], listed.next_token) == (["candidate"], "prod")
    listed = released.list_aliases("show", models.ListAliasesRequest(prefix="pr")).body
    assert [a.alias_name for a in listed.aliases] == ["prod"]
    assert released.delete_alias("show", "prod").status_code == 204
    assert refused(lambda: released.get_alias("show", "prod"))[:2] == (404, "AliasNotFound")
    assert versions(released) == ["3", "2", "1"]


def test_what_an_alias_update_omits_stays_and_an_empty_weight_ends_the_canary(released: Client) -> None:
    alias(released, "1", {"2": 0.25})
    assert flip(released, description="d").additional_version_weight == {"2": 0.25}
    assert flip(released, version_id="3").additional_version_weight == {"2": 0.25}
    ended = flip(released, additional_version_weight={})
    assert (ended.version_id, ended.description, ended.additional_version_weight) == ("3", "d", {})


def test_moving_an_alias_onto_its_own_canary_is_refused(released: Client) -> None:
    alias(released, "1", {"2": 0.25})
    status, code, message = refused(lambda: flip(released, version_id="2"))
    assert (status, code) == (400, "AdditionalVersionContainsMajorVersion")
    assert "cannot contain major version 2" in message
    assert released.get_alias("show", "prod").body.version_id == "1"


@pytest.mark.parametrize(
    ("version", "weights", "code"),
    [
        ("9", None, "VersionNotFound"),
        ("1", {"9": 0.5}, "VersionNotFound"),
        ("1", {"1": 0.5}, "AdditionalVersionContainsMajorVersion"),
        ("1", {"2": 1.5}, "InvalidArgument"),
        ("1", {"2": -0.1}, "InvalidArgument"),
        ("1", {"2": 0.1, "3": 0.1}, "InvalidArgument"),
        ("LATEST", None, "InvalidArgument"),
        ("", None, "InvalidArgument"),
    ],
)
def test_an_alias_that_may_not_be_is_refused(
    released: Client, version: str, weights: dict[str, float] | None, code: str
) -> None:
    assert refused(lambda: alias(released, version, weights))[1] == code
    alias(released, "3", alias_name="prod")
    assert released.get_alias("show", "prod").body.version_id == "3"


@pytest.mark.parametrize("name", ["LATEST", "1", "1a", "a b", "x" * 129])
def test_an_invalid_alias_name_is_refused(released: Client, name: str) -> None:
    assert refused(lambda: alias(released, "1", alias_name=name))[:2] == (400, "InvalidArgument")


def test_the_same_alias_twice_is_refused(released: Client) -> None:
    alias(released, "1")
    assert refused(lambda: alias(released, "2"))[:2] == (409, "AliasAlreadyExists")


def test_an_alias_on_latest_is_allowed_where_that_is_switched_on(make_cloud: Callable[..., Cloud]) -> None:
    client = make_cloud(Settings(create_s=0, update_s=0, alias_to_latest=True)).client()
    create(client, environment_variables={"RELEASE": "a"})
    alias(client, "LATEST")
    assert get(client, qualifier="prod").environment_variables == {"RELEASE": "a"}


def test_missing_versions_and_aliases_are_distinguished(released: Client) -> None:
    assert refused(lambda: get(released, qualifier="9"))[:2] == (404, "VersionNotFound")
    assert refused(lambda: get(released, qualifier="ghost"))[:2] == (404, "AliasNotFound")
    assert refused(lambda: flip(released, "ghost", version_id="1"))[:2] == (404, "AliasNotFound")
    assert refused(lambda: released.delete_alias("show", "ghost"))[:2] == (404, "AliasNotFound")
