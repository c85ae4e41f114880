"""`syncd ram-policy`: a model's whole life needs every action that is printed, and no other."""

from __future__ import annotations

import random
from typing import Any, Final

import pytest
from syncd.artifact.parts import Part
from syncd.config.targets import OssTargetSettings
from syncd.wiring_stores import store_of

from tests.acceptance.stage import environment, run
from tests.support.directories import quick_directory
from tests.support.fleet import FUNCTION, PLACES, WEIGHTS, Fleet
from tests.support.ram import allows, needed

Lived = tuple[list[tuple[str, str]], dict[str, Any]]
LIFE: Final = (
    ("publish", "m@v1", "--wait"),
    ("publish", "m@v2", "--wait"),
    ("verify",),
    ("repair", "m@v2"),
    ("drift",),
    ("doctor",),
    ("rollback", "m", "--why", "black images"),
    ("retire", "m@v2", "--yes"),
    ("db", "adopt-world"),
)


@pytest.fixture(scope="module")
def lived() -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """The permissions that a life needed, and the policies that were printed for its configuration."""
    with quick_directory() as home:
        fleet = Fleet(home)
        fleet.make()
        try:
            env = environment(SYNCD_CONFIG=str(fleet.config_file), **fleet.environment)
            for version in ("v1", "v2"):
                fleet.deliver(version)
            for command in LIFE:
                ended = run(*command, env=env)
                assert ended.code == 0, ended.err
            _scale(fleet)
            _resume_and_abort(fleet)
            printed = run("ram-policy", "-o", "json", env=env)
            calls = [call for call in fleet.whole.cloud.counters.calls() if call.operation != "ListBuckets"]
        finally:
            fleet.stop()
    # Without a bucket, which nobody signs, an endpoint is asked for its clock.
    return list(dict.fromkeys(each for call in calls for each in needed(call))), printed.document


def _scale(fleet: Fleet) -> None:
    """Set the scaling of an alias in both of its forms, and take both away."""
    runtime = fleet.runtimes()["hangzhou"]
    settings = {"scaling": {"minInstances": 1}, "provision": {"defaultTarget": 1}}
    runtime.scale(FUNCTION, "prod", settings)
    runtime.scale(FUNCTION, "prod", {})
    now = runtime.read(FUNCTION, "prod-candidate").function_version
    runtime.flip(FUNCTION, "prod-candidate", None, now)


def _resume_and_abort(fleet: Fleet) -> None:
    """An upload that another process goes on with, and one that is given up."""
    target = fleet.config.targets["hangzhou"]
    assert isinstance(target, OssTargetSettings)
    store, data = store_of(fleet.config, target), random.Random(1).randbytes(200 << 10)
    part = Part(1, 0, len(data))
    begun = store.upload(f"{WEIGHTS}.tmp", (part,))
    store.upload(f"{WEIGHTS}.tmp", (part,), begun.token).abort()


def test_every_call_of_a_life_is_allowed(lived: Lived) -> None:
    calls, printed = lived
    refused = [each for each in calls if not allows(printed["local"]["Statement"], *each)]
    assert refused == []


def test_every_action_is_needed_by_some_call(lived: Lived) -> None:
    calls, printed = lived
    granted = {action for statement in printed["local"]["Statement"] for action in statement["Action"]}
    assert granted - {action for action, _ in calls} == set()


@pytest.mark.parametrize("elsewhere", ["another-bucket/m/x", "models-hz2/x"])
def test_another_bucket_is_not_allowed(lived: Lived, elsewhere: str) -> None:
    assert not allows(lived[1]["local"]["Statement"], "oss:PutObject", f"acs:oss:cn-hangzhou:1:{elsewhere}")


def test_functions_read_and_write_nothing(lived: Lived) -> None:
    statements = lived[1]["functions"]["Statement"]
    assert allows(statements, "oss:GetObject", "acs:oss:cn-hangzhou:1:models-hz/m/v1/x")
    assert not allows(statements, "oss:PutObject", "acs:oss:cn-hangzhou:1:models-hz/m/v1/x")


def test_a_function_that_no_binding_names_is_not_allowed(
    lived: Lived,
) -> None:
    statements = lived[1]["local"]["Statement"]
    for name in ("other", f"{FUNCTION}2"):
        assert not allows(statements, "fc:UpdateFunction", f"acs:fc:{PLACES['hangzhou']}:1:functions/{name}")
