"""Invalid answers with status 200, from Function Compute or a gateway: nothing is known then."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from alibabacloud_fc20230330.client import Client
from syncd.errors import Unavailable
from syncd.localcloud.faults import FaultRule, Respond
from syncd.runtime.fc.runtime import FcRuntime
from syncd.values.function import AliasState

from tests.conformance.runtime import change_to, go_on
from tests.emulators.fc.calls import get
from tests.support.fc_clouds import FcCloud


def stage(runtime: FcRuntime, name: str, digit: str = "b") -> str:
    return runtime.stage(name, change_to(digit), f"token-{digit}", known=(), waiting=go_on).function_version


# The SDK makes an empty list of a list that is missing: what has lists only is not asked with these three.
EMPTY = ("[]", "{}", '{"unknown": 1}')
NO_ANSWERS = ("null", "1", '"x"')
LOOKS: Mapping[str, tuple[Callable[[FcRuntime, str], object], tuple[str, ...]]] = {
    "GetAlias": (
        lambda runtime, name: runtime.read(name, "prod"),
        (
            '{"aliasName": "prod", "versionIe": "1"}',
            '{"versionId": null}',
            '{"versionId": "x"}',
            '{"versionId": "1", "additionalVersionWeight": {"2": "x"}}',
        ),
    ),
    "GetFunction": (
        stage,
        (
            '{"functionName": "f", "environmentVariables": "x"}',
            '{"functionName": "f", "environmentVariables": {"A": {}}}',
            '{"functionName": "f", "nasConfig": {"mountPoints": [null]}}',
            '{"functionName": "f", "customContainerConfig": "x"}',
        ),
    ),
    "ListAliases": (
        lambda runtime, name: runtime.retire(name, "1"),
        ('{"aliases": [{"aliasName": "prod"}]}', '{"aliases": [], "nextToken": "a"}'),
    ),
    "ListFunctionVersions": (stage, ('{"versions": [null]}', '{"versions": [{"versionIe": "1"}]}')),
    "PublishFunctionVersion": (stage, ('{"versionId": {}}',)),
    "GetScalingConfig": (
        lambda runtime, name: runtime.scaling(name, "prod"),
        ('{"minInstances": "x", "functionArn": "a"}', '{"minInstances": 1, "targetInstances": [1]}'),
    ),
}


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        (operation, body)
        for operation, (_, bodies) in LOOKS.items()
        for body in (*NO_ANSWERS, *(() if operation.startswith("List") else EMPTY), *bodies)
    ],
)
def test_an_answer_of_another_shape_is_unavailable_and_moves_nothing(
    fc: FcCloud, client: Client, runtime: FcRuntime, name: str, operation: str, body: str
) -> None:
    served = stage(runtime, name, "a")
    runtime.flip(name, "prod", served, None)
    fc.faults.add(FaultRule("fc", Respond(200, body=body), operation, f"{name}.*", times=0))
    with pytest.raises(Unavailable):
        LOOKS[operation][0](runtime, name)
    fc.faults.clear()
    assert runtime.read(name, "prod") == AliasState(served)
    assert get(client, name, served).function_name == name, "the live version was deleted"
