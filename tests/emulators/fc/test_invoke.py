"""Invocation: functions run as processes, and an alias selects the version."""

import base64
import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alibabacloud_fc20230330 import models
from alibabacloud_fc20230330.client import Client
from syncd.localcloud.fc import Settings

from tests.emulators.fc.calls import (
    ACCOUNT,
    REGION,
    SHOW,
    Cloud,
    alias,
    container,
    create,
    eventually,
    flip,
    invoke,
    publish,
    refused,
    release,
    shown,
    shown_release,
    update,
)


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def initializer(**hook: object) -> models.InstanceLifecycleConfig:
    return models.InstanceLifecycleConfig(initializer=models.LifecycleHook(handler="init", timeout=5, **hook))


def argv(*words: str) -> models.CustomContainerConfig:
    return container(entrypoint=list(words))


def test_an_answer_names_its_request_instance_version_and_duration(client: Client) -> None:
    create(client)
    alias(client, publish(client))
    answer = invoke(client, "prod")
    assert answer.status == 200
    assert answer.headers["x-fc-invocation-function-version"] == "1"
    assert answer.headers["x-fc-invocation-service-version"] == "1"
    assert answer.headers["x-fc-request-id"] == json.loads(answer.body)["headers"]["x-fc-request-id"]
    assert answer.headers["x-fc-instance-id"] == json.loads(answer.body)["env"]["FC_INSTANCE_ID"]
    assert int(answer.headers["x-fc-invocation-duration"]) >= 0
    assert "x-own" not in answer.headers
    assert "x-fc-error-type" not in answer.headers


def test_a_function_gets_the_real_services_variables_and_none_of_the_server(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET_OF_THE_SERVER", "x")
    monkeypatch.setenv("PYTHONPATH", "/of/the/server")
    create(client, environment_variables={"OWN": "value"})
    found = shown(client)
    env = found["env"]
    assert (env["OWN"], env["FC_FUNCTION_NAME"], env["FC_FUNCTION_VERSION"]) == ("value", "show", "LATEST")
    assert (env["FC_REGION"], env["FC_ACCOUNT_ID"]) == (REGION, ACCOUNT)
    assert Path(env["LOCALCLOUD_ROOT"]).is_dir()
    assert {"A_SECRET_OF_THE_SERVER", "PYTHONPATH"}.isdisjoint(env)
    headers = found["headers"]
    assert (found["path"], headers["x-fc-control-path"]) == ("/invoke", "/invoke")
    assert (headers["x-fc-qualifier"], headers["x-fc-version-id"]) == ("LATEST", "LATEST")
    assert (headers["x-fc-function-name"], headers["x-fc-account-id"]) == ("show", ACCOUNT)


def test_a_flip_changes_who_answers_and_flipping_back_finds_the_same_process(client: Client) -> None:
    create(client)
    release(client, "a")
    release(client, "b")
    alias(client, "1")
    first = shown(client, "prod")
    flip(client, version_id="2")
    second = shown(client, "prod")
    flip(client, version_id="1")
    again = shown(client, "prod")
    assert [first["env"]["RELEASE"], second["env"]["RELEASE"]] == ["a", "b"]
    assert first["pid"] == again["pid"] != second["pid"]


def test_a_canary_takes_the_calls_that_chance_gives_it(cloud: Cloud, client: Client) -> None:
    create(client)
    release(client, "a")
    release(client, "b")
    alias(client, "1", {"2": 0.3})
    cloud.chances[:] = [0.0, 0.29, 0.3, 0.9]
    assert [shown_release(client, "prod") for _ in range(4)] == ["b", "b", "a", "a"]
    flip(client, additional_version_weight={"2": 0})
    cloud.chances[:] = [0.0]
    assert shown_release(client, "prod") == "a"
    flip(client, additional_version_weight={"2": 1})
    assert shown_release(client, "prod") == "b"


def test_calls_at_the_same_time_share_one_start(client: Client) -> None:
    create(client)
    with ThreadPoolExecutor(8) as pool:
        pids = {found["pid"] for found in pool.map(lambda _: shown(client), range(16))}
    assert len(pids) == 1


def test_a_process_that_died_is_started_again(client: Client) -> None:
    create(client)
    before = shown(client)["pid"]
    died = invoke(client, payload=b'{"exit": 3}')
    assert (died.status, died.headers["x-fc-error-type"]) == (200, "UnhandledInvocationError")
    assert b"Process exited unexpectedly" in died.body
    assert shown(client)["pid"] != before


@pytest.mark.parametrize("status", [404, 418, 500, 302])
def test_what_a_function_answers_other_than_2xx_is_a_200_with_an_error_type(client: Client, status: int) -> None:
    create(client)
    answer = invoke(client, payload=json.dumps({"status": status}).encode())
    assert (answer.status, answer.headers["x-fc-error-type"]) == (200, "UnhandledInvocationError")
    assert json.loads(answer.body)["path"] == "/invoke"


def test_a_function_that_takes_longer_than_its_timeout_is_an_error(client: Client) -> None:
    create(client, timeout=1)
    answer = invoke(client, payload=b'{"sleep_s": 5}')
    assert (answer.status, answer.headers["x-fc-error-type"]) == (200, "UnhandledInvocationError")
    assert b"timed out after 1 seconds" in answer.body


def test_the_tail_of_the_log_comes_along_when_asked_for(client: Client) -> None:
    create(client)
    answer = invoke(client, x_fc_log_type="Tail")
    assert base64.b64decode(answer.headers["x-fc-log-result"]).decode() == "invoked"


def test_the_initializer_runs_before_the_first_call_and_once(client: Client) -> None:
    create(client, instance_lifecycle_config=initializer())
    assert shown(client)["initialized"] is True
    assert shown(client)["initialized"] is True


def test_a_failed_initializer_is_a_200_that_says_so(client: Client) -> None:
    create(client, instance_lifecycle_config=initializer(), environment_variables={"FAIL_INIT": "no weights"})
    answer = invoke(client)
    assert (answer.status, answer.headers["x-fc-error-type"]) == (200, "InitializationError")
    assert b"no weights" in answer.body


def test_an_image_that_was_not_pushed_does_not_start(client: Client) -> None:
    create(client, custom_container_config=models.CustomContainerConfig(image="r/ghost:1"))
    status, code, message = refused(lambda: invoke(client))
    assert (status, code) == (412, "FunctionNotStarted")
    assert "r/ghost:1" in message


def test_an_image_that_was_pushed_runs_its_own_command(cloud: Cloud, client: Client) -> None:
    command = container().entrypoint
    cloud.region.put_image("r/show:1", command)
    create(client, custom_container_config=models.CustomContainerConfig(image="r/show:1"))
    assert invoke(client).status == 200


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (("/no/such/program",), "CAFileNotFound", "/no/such/program"),
        ((sys.executable, "-c", "raise SystemExit('broken model')"), "CAExited", "broken model"),
        (
            (sys.executable, "-c", "input() if 0 else __import__('threading').Event().wait()"),
            "FunctionNotStarted",
            "",
        ),
    ],
    ids=["no program", "ends at once", "never listens"],
)
def test_a_program_that_does_not_come_up_is_a_refusal_that_says_why(
    make_cloud: Callable[..., Cloud], words: tuple[str, ...], code: str, expected: str
) -> None:
    client = make_cloud(Settings(create_s=0, start_limit_s=0.5)).client()
    create(client, custom_container_config=argv(*words))
    status, refused_with, message = refused(lambda: invoke(client))
    assert (status, refused_with) == (412, code)
    assert expected in message
    instances = client.list_instances("show", models.ListInstancesRequest()).body.instances
    assert instances == []


def test_an_unhealthy_function_does_not_start(make_cloud: Callable[..., Cloud]) -> None:
    client = make_cloud(Settings(create_s=0, start_limit_s=0.5)).client()
    health = container(health_check_config=models.CustomHealthCheckConfig(http_get_url="/health"))
    create(client, custom_container_config=health, environment_variables={"UNHEALTHY": "1"})
    status, code, message = refused(lambda: invoke(client))
    assert (status, code) == (412, "FunctionNotStarted")
    assert "health check failed on port" in message


def test_a_healthy_function_starts(client: Client) -> None:
    health = container(health_check_config=models.CustomHealthCheckConfig(http_get_url="/health"))
    create(client, custom_container_config=health)
    assert invoke(client).status == 200


def test_an_async_call_is_answered_before_it_runs(client: Client, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    create(client)
    payload = json.dumps({"touch": str(mark)}).encode()
    answer = invoke(client, payload=payload, x_fc_invocation_type="Async", x_fc_async_task_id="t1")
    assert (answer.status, answer.headers["x-fc-async-task-id"]) == (202, "t1")
    eventually(mark.exists)
    assert refused(lambda: invoke(client, x_fc_invocation_type="Later"))[0] == 400
    large = b"x" * (128 * 1024 + 1)
    assert refused(lambda: invoke(client, payload=large, x_fc_invocation_type="Async"))[1] == "EntityTooLarge"


def test_a_disabled_function_is_not_called_until_it_is_enabled(client: Client) -> None:
    create(client)
    client.disable_function_invocation("show", models.DisableFunctionInvocationRequest(reason="maintenance"))
    status, code, message = refused(lambda: invoke(client))
    assert (status, code) == (403, "AccessDenied")
    assert "maintenance" in message
    client.enable_function_invocation("show")
    assert invoke(client).status == 200


def test_instances_show_which_version_they_run(client: Client) -> None:
    create(client)
    release(client, "a")
    alias(client, "1")
    invoke(client, "prod")
    invoke(client)
    listed = client.list_instances("show", models.ListInstancesRequest()).body.instances
    assert [i.version_id for i in listed] == ["1", "0"]
    only = client.list_instances("show", models.ListInstancesRequest(qualifier="prod")).body.instances
    assert [(i.version_id, i.qualifier) for i in only] == [("1", "prod")]


def test_deleting_a_version_or_a_function_ends_its_process(client: Client) -> None:
    create(client)
    release(client, "a")
    pids = [shown(client, "1")["pid"], shown(client)["pid"]]
    client.delete_function_version("show", "1")
    assert [lives(pid) for pid in pids] == [False, True]
    client.delete_function("show")
    assert not lives(pids[1])


def test_an_update_replaces_the_process_of_latest_once_its_calls_are_over(client: Client, tmp_path: Path) -> None:
    create(client)
    old = shown(client)["pid"]
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(shown, client, sleep_s=0.3)
        eventually(lambda: len(client.list_instances("show", models.ListInstancesRequest()).body.instances) == 1)
        update(client, environment_variables={"RELEASE": "new"})
        assert shown_release(client) == "new"
        assert running.result()["pid"] == old
    eventually(lambda: not lives(old))


def test_a_payload_of_more_than_thirty_two_megabytes_is_refused(client: Client) -> None:
    create(client)
    large = b"x" * (32 * 1024 * 1024 + 1)
    assert refused(lambda: invoke(client, payload=large))[:2] == (400, "EntityTooLarge")


def test_a_runtime_that_is_no_container_is_not_run(client: Client) -> None:
    code = models.InputCodeLocation(zip_file="eA==")
    create(client, runtime="python3.10", custom_container_config=None, code=code)
    assert refused(lambda: invoke(client))[:2] == (412, "FunctionNotStarted")


def test_more_arguments_than_a_system_takes_are_a_refusal(client: Client) -> None:
    create(client, custom_container_config=argv("true", *["x" * 100_000] * 30))
    assert refused(lambda: invoke(client))[:2] == (412, "CAFileNotFound")


GATED = """
import os, sys, threading
while not os.path.exists(sys.argv[2]):
    threading.Event().wait(0.01)
os.execv(sys.executable, [sys.executable, sys.argv[1]])
"""


def gated(gate: Path) -> models.CustomContainerConfig:
    """A function that starts to listen when the gate is there."""
    return argv(sys.executable, "-c", GATED, str(SHOW), str(gate))


def instances(client: Client) -> int:
    return len(client.list_instances("show", models.ListInstancesRequest()).body.instances)


def test_a_version_deleted_during_its_start_serves_no_call(cloud: Cloud, client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    create(client, custom_container_config=gated(gate))
    publish(client)
    with ThreadPoolExecutor(1) as pool:
        called = pool.submit(refused, lambda: invoke(cloud.client(), "1"))
        eventually(lambda: instances(client) == 1)
        client.delete_function_version("show", "1")
        gate.touch()
        assert called.result()[:2] == (404, "VersionNotFound")
    assert instances(client) == 0


def test_a_region_that_stops_cuts_the_calls_and_starts_in_it(cloud: Cloud, client: Client, tmp_path: Path) -> None:
    create(client)
    create(client, "gated", custom_container_config=gated(tmp_path / "never"))
    with ThreadPoolExecutor(2) as pool:
        payload = json.dumps({"touch": str(tmp_path / "in"), "sleep_s": 9}).encode()
        running = pool.submit(invoke, client, None, payload)
        starting = pool.submit(refused, lambda: invoke(cloud.client(), name="gated"))
        eventually((tmp_path / "in").exists)
        listed = models.ListInstancesRequest()
        eventually(lambda: len(client.list_instances("gated", listed).body.instances) == 1)
        cloud.region.stop()
        assert running.result().headers["x-fc-error-type"] == "UnhandledInvocationError"
        assert starting.result()[:2] == (412, "CAExited")
    assert refused(lambda: invoke(client))[:2] == (503, "ServiceUnavailable")


def test_disabling_may_cut_what_runs(client: Client, tmp_path: Path) -> None:
    create(client)
    with ThreadPoolExecutor(1) as pool:
        payload = json.dumps({"touch": str(tmp_path / "in"), "sleep_s": 9}).encode()
        running = pool.submit(invoke, client, None, payload)
        eventually((tmp_path / "in").exists)
        request = models.DisableFunctionInvocationRequest(reason="x", abort_ongoing_request=True)
        client.disable_function_invocation("show", request)
        assert running.result().headers["x-fc-error-type"] == "UnhandledInvocationError"


@pytest.mark.parametrize(("variable", "message"), [("HANG_INIT", b"timed out"), ("EXIT_INIT", b"did not answer")])
def test_an_initializer_that_hangs_or_dies_has_failed(client: Client, variable: str, message: bytes) -> None:
    hook = models.InstanceLifecycleConfig(initializer=models.LifecycleHook(handler="init", timeout=1))
    create(client, instance_lifecycle_config=hook, environment_variables={variable: "1"})
    answer = invoke(client)
    assert (answer.status, answer.headers["x-fc-error-type"]) == (200, "InitializationError")
    assert message in answer.body
    assert instances(client) == 0


def test_an_async_call_that_fails_is_run_three_times_more(client: Client, tmp_path: Path) -> None:
    create(client)
    payload = json.dumps({"count": str(tmp_path / "runs"), "status": 500}).encode()
    invoke(client, payload=payload, x_fc_invocation_type="Async")
    eventually(lambda: (tmp_path / "runs").exists() and (tmp_path / "runs").read_text() == "....")


def test_an_async_call_of_what_can_not_start_is_still_taken(cloud: Cloud, client: Client) -> None:
    create(client, custom_container_config=models.CustomContainerConfig(image="r/ghost:1"))
    assert invoke(client, x_fc_invocation_type="Async").status == 202
    cloud.region.stop()
    cloud.region.start()
