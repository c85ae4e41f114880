"""Operations of the vendor's client: implemented, or refused by name."""

import inspect
import json
import re
from urllib.parse import unquote

import pytest
from alibabacloud_fc20230330 import client as vendor
from syncd.localcloud.fc.api import routes

from tests.emulators.fc.calls import Cloud, raw

# What the vendor's client calls: action, path with its parameters, and method.
CALLS = re.findall(
    r"action = '(\w+)',\s*version = '[^']*',\s*protocol = '[^']*',\s*pathname = f?'([^']*)'[^\n]*\s*method = '(\w+)'",
    inspect.getsource(vendor.Client),
)
OPERATIONS = {action: (method, re.sub(r"\{[^}]*\((\w+)\)\}", r"\1", path)) for action, path, method in CALLS}


def test_every_operation_of_the_client_has_a_route() -> None:
    assert len(OPERATIONS) > 60
    found = {action: routes.find(*OPERATIONS[action]) for action in OPERATIONS}
    assert {action: route.name for action, route in found.items()} == {action: action for action in OPERATIONS}
    assert found["GetTrigger"].function == "function_name"
    assert unquote(found["GetFunction"].function) == "function_name"


@pytest.mark.parametrize(
    "action", ["CreateTrigger", "ListLayers", "PutAsyncInvokeConfig", "GetAsyncTask", "UpdateSession"]
)
def test_an_operation_without_an_implementation_is_refused_by_its_name(cloud: Cloud, action: str) -> None:
    method, path = OPERATIONS[action]
    status, body = raw(cloud, method, path)
    document = json.loads(body)
    assert (status, document["Code"]) == (501, "NotImplemented")
    assert action in document["Message"]
    assert cloud.region.counters.statuses(action) == {501: 1}
