"""Operations on what a function is released as: published versions and the aliases that point to them."""

from syncd.localcloud.fc import rules
from syncd.localcloud.fc.errors import invalid
from syncd.localcloud.fc.service import Call, Reply, Service, paged


def publish_version(service: Service, call: Call) -> Reply:
    description = str(call.document().get("description") or "")
    record = service.shelf.change(call.function, lambda r: rules.publish(r, description, call.now_s, service.settings))
    return Reply(document=record.versions[str(record.next_version - 1)].view())


def list_versions(service: Service, call: Call) -> Reply:
    direction = call.query.get("direction") or "BACKWARD"
    if direction not in {"BACKWARD", "FORWARD"}:
        raise invalid(f"direction is '{direction}', want BACKWARD or FORWARD")
    record = service.shelf.get(call.function)
    ordered = sorted(record.versions.values(), key=lambda v: int(v.version_id), reverse=direction == "BACKWARD")
    page, token = paged(call, [(version.version_id, version) for version in ordered])
    return Reply(document={"versions": [v.view() for v in page], "nextToken": token, "direction": direction})


def delete_version(service: Service, call: Call) -> Reply:
    service.shelf.change(call.function, lambda record: rules.delete_version(record, call.item))
    service.instances.retire(call.function, call.item)
    return Reply(204)


def create_alias(service: Service, call: Call) -> Reply:
    request = call.document()
    record = service.shelf.change(call.function, lambda r: rules.create_alias(r, request, call.now_s, service.settings))
    return Reply(document=record.aliases[str(request["aliasName"])].view())


def get_alias(service: Service, call: Call) -> Reply:
    return Reply(document=service.shelf.get(call.function).alias(call.item).view())


def update_alias(service: Service, call: Call) -> Reply:
    request = call.document()
    record = service.shelf.change(
        call.function, lambda r: rules.update_alias(r, call.item, request, call.now_s, service.settings)
    )
    return Reply(document=record.aliases[call.item].view())


def delete_alias(service: Service, call: Call) -> Reply:
    service.shelf.change(call.function, lambda record: rules.delete_alias(record, call.item))
    return Reply(204)


def list_aliases(service: Service, call: Call) -> Reply:
    record, prefix = service.shelf.get(call.function), call.query.get("prefix", "")
    named = [(name, record.aliases[name]) for name in sorted(record.aliases) if name.startswith(prefix)]
    page, token = paged(call, named)
    return Reply(document={"aliases": [alias.view() for alias in page], "nextToken": token})
