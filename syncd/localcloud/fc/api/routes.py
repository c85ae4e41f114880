"""Routes of API 2023-03-30: method and path to operation."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from syncd.localcloud.fc.api import functions, invocation, scaling, versions
from syncd.localcloud.fc.api.service import FcCall, FunctionService, Operation, Reply
from syncd.localcloud.fc.errors import FcError

API_VERSION = "2023-03-30"
_FUNCTION = r"/functions/(?P<function>[^/]+)"
_VERSION = rf"{_FUNCTION}/versions/(?P<item>[^/]+)"
_ALIAS = rf"{_FUNCTION}/aliases/(?P<item>[^/]+)"

_TABLE: tuple[tuple[str, str, str, Operation], ...] = (
    ("CreateFunction", "POST", "/functions", functions.create_function),
    ("ListFunctions", "GET", "/functions", functions.list_functions),
    ("GetFunction", "GET", _FUNCTION, functions.get_function),
    ("UpdateFunction", "PUT", _FUNCTION, functions.update_function),
    ("DeleteFunction", "DELETE", _FUNCTION, functions.delete_function),
    ("GetFunctionCode", "GET", rf"{_FUNCTION}/code", functions.get_function_code),
    ("DisableFunctionInvocation", "POST", rf"{_FUNCTION}/invoke/disable", functions.disable_invocation),
    ("EnableFunctionInvocation", "POST", rf"{_FUNCTION}/invoke/enable", functions.enable_invocation),
    ("TagResources", "POST", "/tags-v2", functions.tag_resources),
    ("UntagResources", "DELETE", "/tags-v2", functions.untag_resources),
    ("ListTagResources", "GET", "/tags-v2", functions.list_tag_resources),
    ("ChangeResourceGroup", "PUT", "/resource-groups", functions.change_resource_group),
    ("PublishFunctionVersion", "POST", rf"{_FUNCTION}/versions", versions.publish_version),
    ("ListFunctionVersions", "GET", rf"{_FUNCTION}/versions", versions.list_versions),
    ("DeleteFunctionVersion", "DELETE", _VERSION, versions.delete_version),
    ("CreateAlias", "POST", rf"{_FUNCTION}/aliases", versions.create_alias),
    ("ListAliases", "GET", rf"{_FUNCTION}/aliases", versions.list_aliases),
    ("GetAlias", "GET", _ALIAS, versions.get_alias),
    ("UpdateAlias", "PUT", _ALIAS, versions.update_alias),
    ("DeleteAlias", "DELETE", _ALIAS, versions.delete_alias),
    ("InvokeFunction", "POST", rf"{_FUNCTION}/invocations", invocation.invoke_function),
    ("PutProvisionConfig", "PUT", rf"{_FUNCTION}/provision-config", scaling.put("provision")),
    ("GetProvisionConfig", "GET", rf"{_FUNCTION}/provision-config", scaling.get("provision")),
    ("DeleteProvisionConfig", "DELETE", rf"{_FUNCTION}/provision-config", scaling.delete("provision")),
    ("ListProvisionConfigs", "GET", "/provision-configs", scaling.list_all("provision")),
    ("PutScalingConfig", "PUT", rf"{_FUNCTION}/scaling-config", scaling.put("scaling")),
    ("GetScalingConfig", "GET", rf"{_FUNCTION}/scaling-config", scaling.get("scaling")),
    ("DeleteScalingConfig", "DELETE", rf"{_FUNCTION}/scaling-config", scaling.delete("scaling")),
    ("ListScalingConfigs", "GET", "/scaling-configs", scaling.list_all("scaling")),
    ("PutConcurrencyConfig", "PUT", rf"{_FUNCTION}/concurrency", scaling.put_concurrency),
    ("GetConcurrencyConfig", "GET", rf"{_FUNCTION}/concurrency", scaling.get_concurrency),
    ("DeleteConcurrencyConfig", "DELETE", rf"{_FUNCTION}/concurrency", scaling.delete_concurrency),
    ("ListConcurrencyConfigs", "GET", "/concurrency-configs", scaling.list_concurrency),
    ("ListInstances", "GET", rf"{_FUNCTION}/instances", scaling.list_instances),
)
_LAYER = r"/layers/[^/]+/versions/[^/]+"
_SESSION = rf"{_FUNCTION}/sessions/(?P<item>[^/]+)"
_SNAPSHOT = rf"{_FUNCTION}/snapshots/(?P<item>[^/]+)"
_TRIGGER = rf"{_FUNCTION}/triggers/(?P<item>[^/]+)"
_DOMAIN = "/custom-domains/[^/]+"
_ASYNC_CONFIG = rf"{_FUNCTION}/async-invoke-config"
# The rest of the API, as alibabacloud-fc20230330 calls it: refused by name.
_NOT_IMPLEMENTED: tuple[tuple[str, str, str], ...] = (
    ("CreateCustomDomain", "POST", "/custom-domains"),
    ("CreateLayerVersion", "POST", "/layers/[^/]+/versions"),
    ("CreateSession", "POST", rf"{_FUNCTION}/sessions"),
    ("CreateSnapshot", "POST", rf"{_FUNCTION}/snapshots"),
    ("CreateTrigger", "POST", rf"{_FUNCTION}/triggers"),
    ("CreateVpcBinding", "POST", rf"{_FUNCTION}/vpc-bindings"),
    ("DeleteAsyncInvokeConfig", "DELETE", _ASYNC_CONFIG),
    ("DeleteCustomDomain", "DELETE", _DOMAIN),
    ("DeleteLayerVersion", "DELETE", _LAYER),
    ("DeleteSession", "DELETE", _SESSION),
    ("DeleteSnapshot", "DELETE", _SNAPSHOT),
    ("DeleteTrigger", "DELETE", _TRIGGER),
    ("DeleteVpcBinding", "DELETE", rf"{_FUNCTION}/vpc-bindings/(?P<item>[^/]+)"),
    ("DescribeRegions", "GET", "/regions"),
    ("GetAsyncInvokeConfig", "GET", _ASYNC_CONFIG),
    ("GetAsyncTask", "GET", rf"{_FUNCTION}/async-tasks/(?P<item>[^/]+)"),
    ("GetCustomDomain", "GET", _DOMAIN),
    ("GetLayerVersion", "GET", _LAYER),
    ("GetLayerVersionByArn", "GET", "/layerarn/[^/]+"),
    ("GetSession", "GET", _SESSION),
    ("GetSnapshot", "GET", _SNAPSHOT),
    ("GetTrigger", "GET", _TRIGGER),
    ("ListAsyncInvokeConfigs", "GET", "/async-invoke-configs"),
    ("ListAsyncTasks", "GET", rf"{_FUNCTION}/async-tasks"),
    ("ListCustomDomains", "GET", "/custom-domains"),
    ("ListLayerVersions", "GET", "/layers/[^/]+/versions"),
    ("ListLayers", "GET", "/layers"),
    ("ListSessions", "GET", rf"{_FUNCTION}/sessions"),
    ("ListSnapshots", "GET", "/snapshots"),
    ("ListTriggers", "GET", rf"{_FUNCTION}/triggers"),
    ("ListVpcBindings", "GET", rf"{_FUNCTION}/vpc-bindings"),
    ("PauseSession", "PUT", rf"{_SESSION}/pause"),
    ("PutAsyncInvokeConfig", "PUT", _ASYNC_CONFIG),
    ("PutLayerACL", "PUT", "/layers/[^/]+/acl"),
    ("ResumeSession", "PUT", rf"{_SESSION}/resume"),
    ("StopAsyncTask", "PUT", rf"{_FUNCTION}/async-tasks/(?P<item>[^/]+)/stop"),
    ("UpdateCustomDomain", "PUT", _DOMAIN),
    ("UpdateSession", "PUT", _SESSION),
    ("UpdateTrigger", "PUT", _TRIGGER),
)


def _refusal_of(name: str) -> Operation:
    def operation(_service: FunctionService, _call: FcCall) -> Reply:
        raise FcError(501, "NotImplemented", f"the local Function Compute does not implement {name}")

    return operation


_COMPILED = tuple(
    (name, method, re.compile(f"/{API_VERSION}{path}"), operation)
    for name, method, path, operation in (
        *_TABLE,
        *((name, method, path, _refusal_of(name)) for name, method, path in _NOT_IMPLEMENTED),
    )
)


@dataclass(frozen=True, slots=True)
class Route:
    """An operation with the parameters of its path. `item` is a version or an alias."""

    name: str
    operation: Operation
    function: str = ""
    item: str = ""


def find(method: str, path: str) -> Route:
    """The route of a request; `path` is percent-encoded. Raises FcError (PathNotSupported)."""
    for name, route_method, pattern, operation in _COMPILED:
        found = pattern.fullmatch(path) if method == route_method else None
        if found is not None:
            parts = {key: unquote(value) for key, value in found.groupdict().items()}
            return Route(name, operation, **parts)
    raise FcError(400, "PathNotSupported", f"{method} {path} is not an operation of {API_VERSION}")
