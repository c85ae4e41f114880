"""Version and alias operations."""

from syncd.localcloud.fc.api.service import FcCall, FunctionService, Reply, paged
from syncd.localcloud.fc.errors import invalid
from syncd.localcloud.fc.functions import operations


def publish_version(service: FunctionService, call: FcCall) -> Reply:
    description = str(call.document().get("description") or "")
    record = service.store.change(
        call.function, lambda r: operations.publish(r, description, call.now_s, service.settings)
    )
    return Reply(document=record.versions[str(record.next_version - 1)].view())


def list_versions(service: FunctionService, call: FcCall) -> Reply:
    direction = call.query.get("direction") or "BACKWARD"
    if direction not in {"BACKWARD", "FORWARD"}:
        raise invalid(f"direction is '{direction}', expected BACKWARD or FORWARD")
    record = service.store.get(call.function)
    ordered = sorted(record.versions.values(), key=lambda v: int(v.version_id), reverse=direction == "BACKWARD")
    page, token = paged(call, [(version.version_id, version) for version in ordered])
    return Reply(document={"versions": [v.view() for v in page], "nextToken": token, "direction": direction})


def delete_version(service: FunctionService, call: FcCall) -> Reply:
    service.store.change(call.function, lambda record: operations.delete_version(record, call.item))
    service.instances.retire(call.function, call.item)
    return Reply(204)


def create_alias(service: FunctionService, call: FcCall) -> Reply:
    request = call.document()
    record = service.store.change(
        call.function, lambda r: operations.create_alias(r, request, call.now_s, service.settings)
    )
    return Reply(document=record.aliases[str(request["aliasName"])].view())


def get_alias(service: FunctionService, call: FcCall) -> Reply:
    return Reply(document=service.store.get(call.function).alias(call.item).view())


def update_alias(service: FunctionService, call: FcCall) -> Reply:
    request = call.document()
    record = service.store.change(
        call.function, lambda r: operations.update_alias(r, call.item, request, call.now_s, service.settings)
    )
    return Reply(document=record.aliases[call.item].view())


def delete_alias(service: FunctionService, call: FcCall) -> Reply:
    service.store.change(call.function, lambda record: operations.delete_alias(record, call.item))
    return Reply(204)


def list_aliases(service: FunctionService, call: FcCall) -> Reply:
    record, prefix = service.store.get(call.function), call.query.get("prefix", "")
    named = [(name, record.aliases[name]) for name in sorted(record.aliases) if name.startswith(prefix)]
    page, token = paged(call, named)
    return Reply(document={"aliases": [alias.view() for alias in page], "nextToken": token})
