"""Image updates of a function: kept fields, waits, repeated saves, refusals."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from alibabacloud_fc20230330 import models
from alibabacloud_fc20230330.client import Client
from syncd.errors import Cancelled, Failed, Unavailable
from syncd.localcloud.faults import FaultRule, SetState
from syncd.localcloud.fc import FcRegion
from syncd.runtime.fc import image as fc_image
from syncd.runtime.fc.mapping import image_of
from syncd.runtime.fc.runtime import FcRuntime
from syncd.values.function import Change, Staged

from tests.conformance.runtime_images import REPOSITORY, digest_of, reference
from tests.emulators.fc.calls import get
from tests.support.fc_clouds import REGION, FcCloud, fresh_function

TIMED_OUT: dict[str, Any] = {
    "end": "Failed",
    "reason_code": "ImageOptimizing",
    "reason": "image acceleration timed out",
}
_numbers = itertools.count(1)


@pytest.fixture
def name(fc: FcCloud, client: Client) -> Iterator[str]:
    name = f"image-{next(_numbers)}"
    fresh_function(fc, client, name)
    _region(fc).put_image(f"{REPOSITORY}:v1", digest=digest_of("v1"))
    yield name
    fc.faults.clear()


def _region(fc: FcCloud) -> FcRegion:
    return fc.whole.functions.regions[REGION]


def script(fc: FcCloud, times: int = 1, **values: Any) -> None:
    fc.faults.add(FaultRule("fc", SetState(values), operation="UpdateFunction", times=times))


def stage(runtime: FcRuntime, name: str, waiting: Callable[[str], None] = lambda _what: None) -> Staged:
    return runtime.stage(name, Change((), {"A": "1"}, reference("v1")), "token", known=(), waiting=waiting)


def saves(fc: FcCloud, name: str) -> int:
    return len([call for call in fc.whole.cloud.counters.calls("UpdateFunction") if call.resource == name])


def test_saving_restarts_a_preparation_that_timed_out(
    fc: FcCloud, client: Client, runtime: FcRuntime, name: str
) -> None:
    script(fc, 2, **TIMED_OUT)
    waits: list[str] = []
    staged = stage(runtime, name, waits.append)
    assert get(client, name, staged.function_version).custom_container_config.image == f"{REPOSITORY}:v1"
    assert len([what for what in waits if "saved again" in what]) == 2
    assert saves(fc, name) == 3


def test_a_preparation_that_always_times_out_fails_with_the_platforms_reason(
    fc: FcCloud, client: Client, runtime: FcRuntime, name: str
) -> None:
    script(fc, 1 + fc_image.SAVED_AGAIN_MAX, **TIMED_OUT)
    with pytest.raises(Failed, match="ImageOptimizing image acceleration timed out"):
        stage(runtime, name)
    assert saves(fc, name) == 1 + fc_image.SAVED_AGAIN_MAX
    assert not client.list_function_versions(name, models.ListFunctionVersionsRequest()).body.versions


def test_one_that_fails_for_another_reason_is_not_saved_again(fc: FcCloud, runtime: FcRuntime, name: str) -> None:
    script(fc, end="Failed", reason_code="ImagePullError", reason="access denied")
    with pytest.raises(Failed, match="ImagePullError access denied"):
        stage(runtime, name)
    assert saves(fc, name) == 1


def test_an_update_without_an_image_that_times_out_is_not_saved_again(
    fc: FcCloud, runtime: FcRuntime, name: str
) -> None:
    script(fc, **TIMED_OUT)
    with pytest.raises(Failed, match="timed out"):
        runtime.stage(name, Change((), {"A": "1"}), "token", known=(), waiting=lambda _what: None)
    assert saves(fc, name) == 1


def test_an_image_has_a_deadline_of_its_own(fc: FcCloud, name: str) -> None:
    script(fc, in_progress_s=0.3)
    assert stage(fc.runtime(stage_timeout_s=0.05, image_timeout_s=60.0), name).function_version == "1"
    fresh_function(fc, fc.client(), name)
    script(fc, in_progress_s=60)
    with pytest.raises(Unavailable, match="InProgress after"):
        stage(fc.runtime(stage_timeout_s=60.0, image_timeout_s=0.05), name)


def test_a_function_that_is_up_to_date_is_waited_for_until_its_image_is_optimised_or_time_is_up(
    fc: FcCloud, name: str
) -> None:
    script(fc, end="Successful", reason_code="ImageOptimizing", reason="optimizing")
    waits: list[str] = []
    staged = stage(fc.runtime(image_timeout_s=0.2), name, waits.append)
    assert any("being optimised" in what for what in waits)
    assert staged.function_version == "1", "it starts slowly, and that is all"


def test_an_attempt_after_one_that_broke_off_waits_for_the_image_as_well(fc: FcCloud, name: str) -> None:
    script(fc, end="Successful", reason_code="ImageOptimizing", reason="optimizing")

    def break_off(what: str) -> None:
        if "being optimised" in what:
            raise Cancelled("a stop was requested")

    with pytest.raises(Cancelled):
        stage(fc.runtime(image_timeout_s=60.0), name, break_off)
    waits: list[str] = []
    stage(fc.runtime(image_timeout_s=0.2), name, waits.append)
    assert any("being optimised" in what for what in waits)
    assert saves(fc, name) == 1


def test_an_image_that_the_registry_does_not_have_fails_the_update(fc: FcCloud, runtime: FcRuntime, name: str) -> None:
    gone = f"127.0.0.1:9/team/sdxl:v1@{digest_of('v1')}"
    with pytest.raises(Failed, match=r"ImageNotFound.*127\.0\.0\.1:9/team/sdxl:v1"):
        runtime.stage(name, Change((), {}, gone), "token", known=(), waiting=lambda _what: None)


def test_the_next_attempt_restarts_a_failed_preparation(fc: FcCloud, runtime: FcRuntime, name: str) -> None:
    script(fc, end="Failed", reason_code="ImagePullError", reason="no such tag")
    with pytest.raises(Failed):
        stage(runtime, name)
    assert stage(runtime, name) == Staged("1", reused=False)


def function(**changes: object) -> Any:
    given = {"function_name": "f", "runtime": "custom-container", "last_update_status": "Successful"}
    given |= {"state": "Active", "state_reason": "", "state_reason_code": ""}
    given |= {"last_update_status_reason": "", "last_update_status_reason_code": ""}
    image = SimpleNamespace(image=f"{REPOSITORY}:v1", resolved_image_uri="", acceleration_info=None)
    return SimpleNamespace(**(given | {"custom_container_config": image} | changes))


def test_a_function_without_a_container_gets_no_image() -> None:
    with pytest.raises(Failed, match=r"f: expected runtime custom-container for an image, got python3\.10"):
        fc_image.container_with(function(runtime="python3.10"), Change((), {}, reference("v1")))


def test_a_tag_that_is_not_resolved_yet_is_not_believed() -> None:
    with pytest.raises(Unavailable, match="has not resolved"):
        fc_image.check_resolved(function(), Change((), {}, reference("v1")))
    assert image_of(function()) == f"{REPOSITORY}:v1"


def test_a_function_without_a_container_has_no_image() -> None:
    assert image_of(function(custom_container_config=None)) == ""


@pytest.mark.parametrize(
    "reason", ["Timeout", "operation timed out", "TIME-OUT", "context deadline exceeded", "镜像加速超时"]
)
def test_these_are_time_outs(reason: str) -> None:
    assert fc_image.gave_up(function(last_update_status="Failed", last_update_status_reason=reason))
    assert not fc_image.gave_up(function(last_update_status_reason=reason)), "it has not failed"
