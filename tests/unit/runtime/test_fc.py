"""Function Compute: settings that stay, updates that take a while, lost answers."""

from __future__ import annotations

import time
from typing import Any

import pytest
from alibabacloud_fc20230330 import models
from alibabacloud_fc20230330.client import Client
from syncd.errors import Cancelled, Conflict, Failed, NotFound, OutcomeUnknown, Refused, SyncdError, Unavailable
from syncd.localcloud.faults import Action, Delay, FaultRule, Reset, Respond, SetState, Truncate
from syncd.runtime.fc.runtime import FcRuntime
from syncd.values.function import AliasState, Change, Mount, MountKind, Probe, Staged

from tests.conformance.runtime import DIGESTS, change_to, go_on, probe_for
from tests.emulators.fc.calls import get, publish, update
from tests.support.fc_clouds import NAS_SERVER, FcCloud

HTML = Respond(502, body="<html><h1>502 Bad Gateway</h1></html>", headers={"Content-Type": "text/html"})
# Fields of GetFunction about how a function runs, without its variables and mounts.
SETTINGS = {
    *("cpu", "memorySize", "diskSize", "gpuConfig", "timeout", "role", "instanceConcurrency", "internetAccess"),
    *("instanceLifecycleConfig", "logConfig", "vpcConfig", "customContainerConfig", "runtime", "handler", "layers"),
}
LOST = [
    pytest.param(Reset(), id="reset"),
    pytest.param(HTML, id="html"),
    pytest.param(Respond(500, body=""), id="empty"),
]


def script(fc: FcCloud, operation: str, action: Action, **more: Any) -> None:
    fc.faults.add(FaultRule("fc", action, operation=operation, **more))


def stage(runtime: FcRuntime, name: str, digit: str = "a", token: str = "") -> Staged:
    return runtime.stage(name, change_to(digit), token or f"token-{digit}", known=(), waiting=go_on)


def oss_mount(mount_dir: str = "/mnt/model", path: str = "/models/sdxl/v1") -> Mount:
    return Mount(MountKind.OSS, "bucket", path, mount_dir, "oss-cn-hangzhou-internal.aliyuncs.com")


def nas_mount(mount_dir: str = "/mnt/model", path: str = "/models/sdxl/v1") -> Mount:
    return Mount(MountKind.NAS, NAS_SERVER, path, mount_dir)


def saved(runtime: FcRuntime, name: str, *mounts: Mount, token: str = "t", **environment: str) -> str:
    change = Change(mounts, environment)
    return runtime.stage(name, change, token, known=(), waiting=go_on).function_version


def oss_points(function: models.Function) -> dict[str, tuple[str, str, bool]]:
    config = function.oss_mount_config
    points = config.mount_points if config else None
    return {p.mount_dir: (p.bucket_name, p.bucket_path, p.read_only) for p in points or []}


def nas_points(function: models.Function) -> dict[str, str]:
    config = function.nas_config
    return {p.mount_dir: p.server_addr for p in (config.mount_points if config else None) or []}


# What is not ours.


def test_everything_else_of_the_function_stays_as_it_is(client: Client, runtime: FcRuntime, name: str) -> None:
    own: dict[str, Any] = {
        "cpu": 8.0,
        "memory_size": 32768,
        "disk_size": 10240,
        "gpu_config": models.GPUConfig(gpu_type="fc.gpu.tesla.1", gpu_memory_size=16384),
        "timeout": 300,
        "role": "acs:ram::1234567890123456:role/gpu",
        "instance_concurrency": 3,
        "internet_access": False,
        "instance_lifecycle_config": models.InstanceLifecycleConfig(
            pre_stop=models.LifecycleHook(handler="index.stop", timeout=5)
        ),
        "log_config": models.LogConfig(project="p", logstore="l", enable_request_metrics=True),
    }
    update(client, name, environment_variables={"OWNER": "team"}, **own)
    before = get(client, name).to_map()
    after = get(client, name, saved(runtime, name, nas_mount(), MODEL="v1")).to_map()
    assert {key: after.get(key) for key in before if key in SETTINGS} == {
        key: before[key] for key in before if key in SETTINGS
    }
    assert len(SETTINGS & set(before)) >= len(own)
    assert after["environmentVariables"] == {"OWNER": "team", "MODEL": "v1"}
    assert after["gpuConfig"] == before["gpuConfig"]


def test_other_mounts_stay_beside_ours(client: Client, runtime: FcRuntime, name: str) -> None:
    saved(runtime, name, nas_mount("/mnt/data", "/data"), oss_mount("/mnt/logs", "/logs"), token="manual")
    found = get(client, name, saved(runtime, name, oss_mount()))
    assert set(oss_points(found)) == {"/mnt/logs", "/mnt/model"}
    assert nas_points(found) == {"/mnt/data": f"{NAS_SERVER}:/data"}


def test_a_version_is_mounted_read_only(client: Client, runtime: FcRuntime, name: str) -> None:
    found = get(client, name, saved(runtime, name, oss_mount()))
    assert oss_points(found) == {"/mnt/model": ("bucket", "/models/sdxl/v1", True)}


def test_the_owner_of_the_nas_mounts_stays(client: Client, runtime: FcRuntime, name: str) -> None:
    point = models.NASMountConfig(server_addr=f"{NAS_SERVER}:/data", mount_dir="/mnt/data", enable_tls=False)
    update(client, name, nas_config=models.NASConfig(user_id=1000, group_id=1001, mount_points=[point]))
    found = get(client, name, saved(runtime, name, nas_mount()))
    assert (found.nas_config.user_id, found.nas_config.group_id) == (1000, 1001)
    assert set(nas_points(found)) == {"/mnt/data", "/mnt/model"}


def test_a_mount_dir_moves_from_oss_to_nas_and_back(client: Client, runtime: FcRuntime, name: str) -> None:
    saved(runtime, name, oss_mount(), token="1")
    found = get(client, name, saved(runtime, name, nas_mount(), token="2"))
    assert (set(oss_points(found)), set(nas_points(found))) == (set(), {"/mnt/model"})
    found = get(client, name, saved(runtime, name, oss_mount(), token="3"))
    assert (set(oss_points(found)), set(nas_points(found))) == ({"/mnt/model"}, set())


def test_a_version_with_another_location_is_not_the_same(runtime: FcRuntime, name: str) -> None:
    versions = {
        saved(runtime, name, oss_mount(path="/models/a")),
        saved(runtime, name, oss_mount(path="/models/b")),
        saved(runtime, name, nas_mount(path="/models/b")),
        saved(runtime, name, nas_mount(path="/models/b"), MODEL="x"),
    }
    assert len(versions) == 4


# An update takes a while.


def test_a_version_is_published_only_when_the_update_has_ended(
    fc: FcCloud, client: Client, runtime: FcRuntime, name: str
) -> None:
    waits: list[str] = []
    script(fc, "UpdateFunction", SetState({"in_progress_s": 0.5}))
    staged = runtime.stage(name, change_to("a"), "t", known=(), waiting=waits.append)
    assert any("InProgress" in what for what in waits)
    assert get(client, name, staged.function_version).environment_variables["MODEL_DIGEST"] == DIGESTS["a"].hex


def test_a_failed_update_has_the_platforms_reason_and_nothing_is_published(
    fc: FcCloud, client: Client, runtime: FcRuntime, name: str
) -> None:
    end = {"end": "Failed", "reason_code": "ImagePullError", "reason": "no such tag"}
    script(fc, "UpdateFunction", SetState(end))
    with pytest.raises(Failed, match="ImagePullError no such tag"):
        stage(runtime, name)
    listed = client.list_function_versions(name, models.ListFunctionVersionsRequest()).body.versions
    assert not listed
    assert stage(runtime, name).function_version, "what failed once is saved again"


def test_an_update_that_never_ends_is_tried_again_later(fc: FcCloud, name: str) -> None:
    script(fc, "UpdateFunction", SetState({"in_progress_s": 60}))
    with pytest.raises(Unavailable, match="InProgress after 0 s"):
        stage(fc.runtime(stage_timeout_s=0.05), name)


def test_a_wait_can_be_stopped(fc: FcCloud, runtime: FcRuntime, name: str) -> None:
    def stop(what: str) -> None:
        raise Cancelled(what)

    script(fc, "UpdateFunction", SetState({"in_progress_s": 60}))
    with pytest.raises(Cancelled, match="InProgress"):
        runtime.stage(name, change_to("a"), "t", known=(), waiting=stop)


# Answers that are lost.


@pytest.mark.parametrize("action", LOST)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", ["UpdateFunction", "PublishFunctionVersion"])
def test_staging_again_after_a_lost_answer_ends_with_one_version(
    fc: FcCloud, client: Client, name: str, operation: str, when: str, action: Action
) -> None:
    runtime = fc.runtime()
    script(fc, operation, action, when=when)
    with pytest.raises(Unavailable):
        stage(runtime, name)
    staged = stage(runtime, name)
    listed = client.list_function_versions(name, models.ListFunctionVersionsRequest()).body.versions
    assert [(v.version_id, v.description) for v in listed] == [(staged.function_version, "token-a")]
    assert staged.reused is (operation == "PublishFunctionVersion" and when == "after")


@pytest.mark.parametrize("action", LOST)
@pytest.mark.parametrize("operation", ["CreateAlias", "UpdateAlias", "DeleteAlias"])
def test_a_flip_whose_answer_is_lost_is_settled_by_reading(
    fc: FcCloud, runtime: FcRuntime, name: str, operation: str, action: Action
) -> None:
    first, second = (stage(runtime, name, digit).function_version for digit in "ab")
    before = None if operation == "CreateAlias" else first
    after = {"CreateAlias": first, "UpdateAlias": second, "DeleteAlias": None}[operation]
    if before:
        runtime.flip(name, "prod", before, None)
    script(fc, operation, action, when="after")
    assert runtime.flip(name, "prod", after, before) == AliasState(after)


@pytest.mark.parametrize("operation", ["CreateAlias", "UpdateAlias"])
def test_a_flip_that_did_not_happen_is_reported(fc: FcCloud, runtime: FcRuntime, name: str, operation: str) -> None:
    first, second = (stage(runtime, name, digit).function_version for digit in "ab")
    if operation == "UpdateAlias":
        runtime.flip(name, "prod", first, None)
    before = runtime.read(name, "prod")
    script(fc, operation, Reset(), when="before")
    with pytest.raises(Unavailable, match="did not move"):
        runtime.flip(name, "prod", second, before.function_version)
    assert runtime.read(name, "prod") == before


@pytest.mark.parametrize("action", LOST)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_split_whose_answer_is_lost_is_settled_by_reading(
    fc: FcCloud, runtime: FcRuntime, name: str, when: str, action: Action
) -> None:
    first, second = (stage(runtime, name, digit).function_version for digit in "ab")
    runtime.flip(name, "prod", first, None)
    script(fc, "UpdateAlias", action, when=when)
    if when == "after":
        assert runtime.split(name, "prod", second, first, 0.1) == AliasState(first, {second: 0.1})
        return
    with pytest.raises(Unavailable, match="did not move"):
        runtime.split(name, "prod", second, first, 0.1)
    assert runtime.read(name, "prod") == AliasState(first)


def test_a_failed_read_is_never_an_absent_alias(fc: FcCloud, runtime: FcRuntime, name: str) -> None:
    for action in (Reset(), HTML, Respond(503, "ServiceUnavailable", "later"), Respond(403, "AccessDenied", "no")):
        fc.faults.clear()
        script(fc, "GetAlias", action, times=0)
        with pytest.raises((Unavailable, Refused)):
            runtime.read(name, "prod")


def test_a_refused_function_is_not_a_missing_alias(fc: FcCloud, runtime: FcRuntime) -> None:
    with pytest.raises(NotFound):
        runtime.read("nothing", "prod")


def test_the_delay_that_the_server_requests_is_passed_on(fc: FcCloud, runtime: FcRuntime, name: str) -> None:
    script(fc, "GetAlias", Respond(429, "Throttling.User", "slow down", {"x-acs-retry-after": "31000"}))
    with pytest.raises(Unavailable) as caught:
        runtime.read(name, "prod")
    assert caught.value.retry_after_s == 31.0


def test_after_a_throttled_call_the_next_to_the_region_waits(fc: FcCloud, runtime: FcRuntime, name: str) -> None:
    script(fc, "GetAlias", Respond(429, "Throttling.User", "slow down", {"x-acs-retry-after": "200"}))
    began_s = time.monotonic()
    assert runtime.read(name, "prod") == AliasState(None)
    assert time.monotonic() - began_s >= 0.19


@pytest.mark.parametrize("action", [Reset(), HTML, Respond(503, "ServiceUnavailable", "later"), Respond(500, "X", "y")])
def test_one_lost_answer_to_a_read_is_asked_for_again(fc: FcCloud, runtime: FcRuntime, name: str, action: Any) -> None:
    script(fc, "GetAlias", action)
    assert runtime.read(name, "prod") == AliasState(None)


def test_a_write_whose_outcome_is_unknown_is_not_repeated_by_the_call(
    fc: FcCloud, runtime: FcRuntime, name: str
) -> None:
    script(fc, "UpdateFunction", Reset())
    with pytest.raises(OutcomeUnknown):
        stage(runtime, name)


def test_a_concurrent_change_is_tried_again(fc: FcCloud, runtime: FcRuntime, name: str) -> None:
    script(fc, "UpdateFunction", Respond(409, "ConcurrentUpdateError", "busy"))
    stage(runtime, name)


# Publishing.


def test_a_version_published_outside_syncd_with_the_same_content_is_used(
    client: Client, runtime: FcRuntime, name: str
) -> None:
    update(client, name, environment_variables={"A": "1"})
    manual = publish(client, name, "manual")
    staged = runtime.stage(name, Change((), {"A": "1"}), "t", known=(), waiting=go_on)
    assert staged == Staged(manual, reused=True)


def test_a_function_edited_while_it_is_staged_is_a_conflict(
    fc: FcCloud, client: Client, runtime: FcRuntime, name: str
) -> None:
    edits = iter([None])

    def edit(_what: str) -> None:
        for _ in edits:
            fc.faults.clear()
            update(client, name, environment_variables={"MODEL_DIGEST": "manual"})

    script(fc, "UpdateFunction", SetState({"in_progress_s": 0.2}))
    with pytest.raises(Conflict, match="LATEST is not what was saved") as caught:
        runtime.stage(name, change_to("a"), "t", known=(), waiting=edit)
    assert caught.value.hint


# Asking.


def test_a_functions_own_error_is_not_an_answer(client: Client, runtime: FcRuntime, name: str) -> None:
    version = stage(runtime, name).function_version
    with pytest.raises(Failed, match="failed with"):
        runtime.ask(name, version, b'{"exit": 3}', 10.0)


def test_a_function_that_does_not_answer_in_time_is_unavailable(runtime: FcRuntime, name: str) -> None:
    version = stage(runtime, name).function_version
    with pytest.raises(Unavailable):
        runtime.ask(name, version, b'{"sleep_s": 3}', 0.3)


def test_an_answer_that_breaks_off_is_unavailable(fc: FcCloud, runtime: FcRuntime, name: str) -> None:
    version = stage(runtime, name).function_version
    runtime.ask(name, version, b"{}", 10.0)
    script(fc, "InvokeFunction", Truncate(20))
    with pytest.raises(Unavailable):
        runtime.ask(name, version, b"{}", 10.0)


def test_a_rollback_of_one_alias_is_five_calls(fc: FcCloud, runtime: FcRuntime, name: str) -> None:
    first, second = (stage(runtime, name, digit).function_version for digit in "ab")
    runtime.flip(name, "prod", second, None)
    runtime = FcRuntime(runtime._settings)  # another process: what this one has read is not known to it
    before = len(fc.whole.cloud.counters.calls())
    staged = runtime.stage(name, change_to("a"), "again", known=(first,), waiting=go_on)
    runtime.probe(name, staged.function_version, staged.function_version, probe_for("a"))
    assert runtime.flip(name, "prod", staged.function_version, second) == AliasState(first)
    calls = [call.operation for call in fc.whole.cloud.counters.calls()[before:]]
    assert calls == ["GetFunction", "InvokeFunction", "GetAlias", "UpdateAlias", "GetAlias"]


def test_a_slow_answer_within_the_limit_is_an_answer(fc: FcCloud, runtime: FcRuntime, name: str) -> None:
    version = stage(runtime, name).function_version
    script(fc, "InvokeFunction", Delay(0.1))
    report = runtime.probe(name, "candidate", version, probe_for("a"))
    assert report.seconds >= 0.1


def test_a_mount_that_leads_nowhere_fails_the_probe(runtime: FcRuntime, name: str) -> None:
    version = saved(runtime, name, oss_mount())
    with pytest.raises(SyncdError, match="bucket") as caught:
        runtime.probe(name, "candidate", version, Probe(b"{}", (), 10.0))
    assert not isinstance(caught.value, NotFound)


# Retiring.


def test_aliases_on_later_pages_are_seen(client: Client, runtime: FcRuntime, name: str) -> None:
    version = stage(runtime, name).function_version
    other = stage(runtime, name, "b").function_version
    for number in range(101):
        pointed = version if number == 100 else other
        body = models.CreateAliasInput(alias_name=f"a{number:03}", version_id=pointed)
        client.create_alias(name, models.CreateAliasRequest(body=body))
    with pytest.raises(Conflict, match="a100"):
        runtime.retire(name, version)
