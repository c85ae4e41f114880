"""Function operations: create, get, update, delete, list, tags, resource groups, and disabled invocation."""

import json
from collections.abc import Callable
from dataclasses import replace

from syncd.localcloud.fc.api.service import FcCall, FunctionService, Reply, paged
from syncd.localcloud.fc.errors import FcError, invalid
from syncd.localcloud.fc.functions import operations, validation
from syncd.localcloud.fc.functions.records import (
    LATEST,
    FunctionRecord,
    ResolvedConfig,
    function_view,
    timestamp,
    version_view,
)
from syncd.localcloud.fc.functions.schema import conform
from syncd.localcloud.fc.functions.validation import Json

# ListFunctions returns only these fields, without any state.
_LISTED = (
    "functionName",
    "functionArn",
    "functionId",
    "description",
    "runtime",
    "handler",
    "cpu",
    "memorySize",
    "diskSize",
    "timeout",
    "role",
    "instanceConcurrency",
    "internetAccess",
    "gpuConfig",
    "customContainerConfig",
    "environmentVariables",
    "tags",
    "createdTime",
    "lastModifiedTime",
)


def create_function(service: FunctionService, call: FcCall) -> Reply:
    settings = service.settings
    record = operations.create(call.document(), call.preparation(settings.create_s), call.now_s, settings)
    record = _resolved(service, record, None, call.now_s)
    service.store.add(record)
    return Reply(document=function_view(record, service.arn(record.name), call.now_s))


def update_function(service: FunctionService, call: FcCall) -> Reply:
    request, preparation = call.document(), call.preparation(service.settings.update_s)

    def change(record: FunctionRecord) -> FunctionRecord:
        before = record.settled(call.now_s).serving
        record = operations.update(record, request, preparation, call.now_s, service.settings)
        return _resolved(service, record, before, call.now_s)

    record = service.store.change(call.function, change)
    return Reply(document=function_view(record, service.arn(record.name), call.now_s))


def get_function(service: FunctionService, call: FcCall) -> Reply:
    record = service.store.get(call.function).settled(call.now_s)
    arn, qualifier = service.arn(record.name), call.qualifier
    version_id = qualifier
    if qualifier and qualifier != LATEST and not qualifier.isdigit():
        version_id = record.alias(qualifier).version_id
    if version_id in {"", LATEST}:
        return Reply(document=function_view(record, arn, call.now_s))
    return Reply(document=version_view(record, record.version(version_id), arn, call.now_s))


def delete_function(service: FunctionService, call: FcCall) -> Reply:
    service.store.remove(call.function, lambda record: operations.check_deletable(record, call.now_s))
    service.instances.retire(call.function)
    return Reply(204)


def list_functions(service: FunctionService, call: FcCall) -> Reply:
    query = call.query
    found = [
        record
        for record in service.store.all()
        if record.name.startswith(query.get("prefix", ""))
        and query.get("functionName", "") in record.name
        and query.get("runtime", "") in {"", record.latest.config["runtime"]}
    ]
    page, token = paged(call, [(record.name, record) for record in found])
    views = [function_view(record.settled(call.now_s), service.arn(record.name), call.now_s) for record in page]
    return Reply(document={"functions": [{k: v[k] for k in _LISTED if k in v} for v in views], "nextToken": token})


def get_function_code(service: FunctionService, call: FcCall) -> Reply:
    service.store.get(call.function)
    return Reply(document={"url": "", "checksum": "0"})


def disable_invocation(service: FunctionService, call: FcCall) -> Reply:
    request = call.document()
    restriction = {
        "disable": True,
        "reason": str(request.get("reason") or ""),
        "lastModifiedTime": timestamp(call.now_s),
    }
    service.store.change(call.function, lambda record: replace(record, restriction=restriction))
    if request.get("abortOngoingRequest"):
        for instance in service.instances.running(call.function):
            instance.process.stop()
    return Reply(document={"success": True})


def enable_invocation(service: FunctionService, call: FcCall) -> Reply:
    restriction = {"disable": False, "reason": "", "lastModifiedTime": timestamp(call.now_s)}
    service.store.change(call.function, lambda record: replace(record, restriction=restriction))
    return Reply(document={"success": True})


def tag_resources(service: FunctionService, call: FcCall) -> Reply:
    request = call.document()
    added = operations.tags_of(request.get("Tag"))
    arns = request.get("ResourceId") or []
    conform(arns, [str], "ResourceId")
    for name in _named(service, request.get("ResourceType"), arns):
        service.store.change(name, _retagged(lambda tags: {**tags, **added}))
    return Reply(document={"RequestId": call.request_id})


def untag_resources(service: FunctionService, call: FcCall) -> Reply:
    keys = _json_list(call, "TagKey")
    every = call.query.get("All", "").lower() == "true"
    for name in _named(service, call.query.get("ResourceType"), _json_list(call, "ResourceId")):
        service.store.change(
            name, _retagged(lambda tags: {k: v for k, v in tags.items() if not every and k not in keys})
        )
    return Reply(document={"RequestId": call.request_id})


def list_tag_resources(service: FunctionService, call: FcCall) -> Reply:
    requested = _json_list(call, "ResourceId")
    names = (
        _named(service, call.query.get("ResourceType"), requested)
        if requested
        else [r.name for r in service.store.all()]
    )
    rows: list[Json] = [
        {"ResourceId": service.arn(name), "ResourceType": "function", "TagKey": key, "TagValue": value}
        for name in names
        for key, value in service.store.get(name).tags.items()
    ]
    return Reply(document={"TagResources": rows, "NextToken": "", "RequestId": call.request_id})


def change_resource_group(service: FunctionService, call: FcCall) -> Reply:
    # The documentation says camelCase, the SDKs send PascalCase.
    request = {key[:1].lower() + key[1:]: value for key, value in call.document().items()}
    group, arn = str(request.get("newResourceGroupId") or ""), str(request.get("resourceId") or "")
    name = _named(service, request.get("resourceType"), [arn])[0]
    before = service.store.get(name).latest.config.get("resourceGroupId", "")
    service.store.change(name, lambda record: operations.regrouped(record, group))
    return Reply(document={"NewResourceGroupId": group, "OldResourceGroupId": before, "ResourceId": arn})


def _resolved(
    service: FunctionService, record: FunctionRecord, before: ResolvedConfig | None, now_s: float
) -> FunctionRecord:
    if not validation.is_container(record.latest.config):
        return record
    name = record.latest.config["customContainerConfig"]["image"]
    image = service.images.resolve(name)
    if image is None:
        record = operations.without_image(record, name, before)
    return operations.with_image(record, image, now_s)


def _retagged(change: Callable[[Json], Json]) -> Callable[[FunctionRecord], FunctionRecord]:
    return lambda record: replace(record, tags=change(dict(record.tags)))


def _named(service: FunctionService, kind: str | None, arns: list[str]) -> list[str]:
    if (kind or "").lower() != "function":
        raise invalid(f"ResourceType is '{kind}', expected function")
    prefix = service.arn("")
    names = [arn.removeprefix(prefix) for arn in arns]
    for arn, name in zip(arns, names, strict=True):
        if arn == name:
            raise FcError(403, "AccessDenied", f"'{arn}' does not belong to you or is not in this region")
        service.store.get(name)
    return names


def _json_list(call: FcCall, name: str) -> list[str]:
    """A query parameter that holds a JSON list."""
    try:
        words = json.loads(call.query.get(name) or "[]")
    except ValueError as cause:
        raise invalid(f"{name} is not a JSON list") from cause
    if not isinstance(words, list):
        raise invalid(f"{name} is not a JSON list")
    return [str(word) for word in words]
