"""Injected faults, before and after a call is applied, through the vendor's client."""

from typing import Any

import pytest
from alibabacloud_fc20230330 import models
from alibabacloud_fc20230330.client import Client
from darabonba.runtime import RuntimeOptions
from syncd.localcloud.faults import Action, Delay, FaultRule, FlipBit, Reset, Respond, Truncate

from tests.emulators.fc.calls import Cloud, alias, create, flip, get, invoke, publish, refused, release, shown

HTML = Respond(502, body="<html><h1>502 Bad Gateway</h1></html>", headers={"Content-Type": "text/html"})


@pytest.fixture
def prepared(cloud: Cloud, client: Client) -> Client:
    """A function with two versions and an alias on the first."""
    create(client)
    release(client, "a")
    release(client, "b")
    alias(client, "1")
    return client


def script(cloud: Cloud, action: Action, operation: str = "UpdateAlias", **more: Any) -> None:
    cloud.faults.add(FaultRule("fc", action, operation=operation, **more))


def unknown(call: Any) -> None:
    """The call must end without a status: nobody can tell what became of it."""
    with pytest.raises(Exception) as caught:
        call()
    assert getattr(caught.value, "status_code", None) is None


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Respond(429, "Throttling.User", "slow down", {"x-acs-retry-after": "1500"}), "Throttling.User"),
        (Respond(409, "ConcurrentUpdateError", "busy"), "ConcurrentUpdateError"),
        (Respond(500, "InternalServerError", "an internal error has occurred"), "InternalServerError"),
        (Respond(503, "ServiceUnavailable", "try again"), "ServiceUnavailable"),
    ],
)
def test_a_scripted_refusal_changes_nothing_and_passes(
    cloud: Cloud, prepared: Client, answer: Respond, code: str
) -> None:
    script(cloud, answer, resource="show/prod")
    with pytest.raises(Exception) as caught:
        flip(prepared, version_id="2")
    error: Any = caught.value
    assert (error.status_code, error.code) == (answer.status, code)
    assert getattr(error, "retry_after", None) == (1500 if answer.status == 429 else None)
    assert prepared.get_alias("show", "prod").body.version_id == "1"
    assert flip(prepared, version_id="2").version_id == "2"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("action", [HTML, Respond(500, body=""), Reset()], ids=["html", "empty", "reset"])
def test_an_unknown_outcome_is_settled_by_reading(cloud: Cloud, prepared: Client, action: Action, when: Any) -> None:
    script(cloud, action, when=when)
    unknown(lambda: flip(prepared, version_id="2"))
    is_applied = prepared.get_alias("show", "prod").body.version_id == "2"
    assert is_applied is (when == "after")


def test_a_publish_whose_answer_is_lost_is_found_by_its_description(cloud: Cloud, client: Client) -> None:
    create(client)
    script(cloud, Reset(), "PublishFunctionVersion", when="after")
    unknown(lambda: publish(client, description="release-7"))
    request = models.ListFunctionVersionsRequest(direction="BACKWARD", limit=1)
    newest = client.list_function_versions("show", request).body.versions[0]
    assert (newest.version_id, newest.description) == ("1", "release-7")
    assert refused(lambda: publish(client, description="release-7"))[1] == "VersionPublishError"


def test_a_create_whose_answer_is_lost_was_made(cloud: Cloud, client: Client) -> None:
    script(cloud, Reset(), "CreateFunction", resource="show", when="after")
    unknown(lambda: create(client))
    assert refused(lambda: create(client))[1] == "FunctionAlreadyExists"


def test_an_alias_to_be_made_is_named_in_the_script(cloud: Cloud, prepared: Client) -> None:
    script(cloud, Respond(500), "CreateAlias", resource="show/candidate", times=0)
    alias(prepared, "1", alias_name="other")
    assert refused(lambda: alias(prepared, "1", alias_name="candidate"))[0] == 500


def test_a_slow_answer_outlasts_a_client_that_does_not_wait(cloud: Cloud, prepared: Client) -> None:
    script(cloud, Delay(1.0), when="after")
    request = models.UpdateAliasRequest(body=models.UpdateAliasInput(version_id="2"))
    unknown(lambda: prepared.update_alias_with_options("show", "prod", request, {}, RuntimeOptions(read_timeout=100)))
    assert prepared.get_alias("show", "prod").body.version_id == "2"


def test_a_truncated_answer_is_no_answer(cloud: Cloud, prepared: Client) -> None:
    script(cloud, Truncate(5), "GetAlias", when="after")
    unknown(lambda: prepared.get_alias("show", "prod"))


def test_a_request_damaged_on_its_way_is_refused(cloud: Cloud, prepared: Client) -> None:
    script(cloud, FlipBit(3))
    assert refused(lambda: flip(prepared, version_id="2"))[:2] == (403, "SignatureNotMatch")
    assert prepared.get_alias("show", "prod").body.version_id == "1"


def test_an_invocation_can_be_refused_before_or_lost_after(cloud: Cloud, prepared: Client) -> None:
    exhausted = Respond(429, "ResourceExhausted", "no GPU left")
    script(cloud, exhausted, "InvokeFunction", resource="show/prod")
    assert refused(lambda: invoke(prepared, "prod"))[:2] == (429, "ResourceExhausted")
    script(cloud, Reset(), "InvokeFunction", when="after")
    unknown(lambda: invoke(prepared, "prod"))
    assert shown(prepared, "prod")["env"]["RELEASE"] == "a"


def test_a_rule_hits_as_often_as_it_says_after_what_it_skips(cloud: Cloud, client: Client) -> None:
    create(client)
    script(cloud, Respond(503), "GetFunction", skip=1, times=2)
    statuses = [get(client) is not None, refused(lambda: get(client))[0], refused(lambda: get(client))[0]]
    assert statuses == [True, 503, 503]
    assert get(client).function_name == "show"


def test_every_call_is_counted_with_what_it_was_answered(cloud: Cloud, prepared: Client) -> None:
    script(cloud, Reset(), when="after")
    unknown(lambda: flip(prepared, version_id="2"))
    flip(prepared, version_id="1")
    calls = cloud.region.counters.calls("UpdateAlias")
    assert [(c.service, c.resource, c.status) for c in calls] == [
        ("fc", "show/prod", 0),
        ("fc", "show/prod", 200),
    ]
    assert calls[1].bytes_in == len(b'{"versionId":"1"}')
