"""Scaling operations: provisioned and minimum instances, reserved concurrency, and the list of instances."""

from dataclasses import replace

from syncd.localcloud.fc.api.service import FcCall, FunctionService, Operation, Reply, paged
from syncd.localcloud.fc.errors import FcError, invalid
from syncd.localcloud.fc.functions import operations
from syncd.localcloud.fc.functions.records import LATEST, FunctionRecord, ScalingRecord
from syncd.localcloud.fc.functions.validation import Json

_COUNT_MAX = 10_000


def put(kind: str) -> Operation:
    """PutProvisionConfig or PutScalingConfig: replaces the configuration; instances converge over time."""

    def operation(service: FunctionService, call: FcCall) -> Reply:
        request = call.document()
        for name in ("defaultTarget", "target", "minInstances"):
            count = request.get(name)
            if count is not None and (not isinstance(count, int) or not 0 <= count <= _COUNT_MAX):
                raise invalid(f"{name} is {count}, expected 0 to {_COUNT_MAX}")
        record = service.store.change(call.function, lambda r: _with(r, kind, call, request, service))
        return Reply(document=_view(kind, service, record, call.qualifier or LATEST, call))

    return operation


def get(kind: str) -> Operation:
    def operation(service: FunctionService, call: FcCall) -> Reply:
        record, qualifier = service.store.get(call.function), _checked(service, call)
        if qualifier not in _kept(record, kind):
            raise FcError(404, f"{kind.title()}ConfigNotFound", f"no {kind} config for {call.function}/{qualifier}")
        return Reply(document=_view(kind, service, record, qualifier, call))

    return operation


def delete(kind: str) -> Operation:
    def operation(service: FunctionService, call: FcCall) -> Reply:
        qualifier = _checked(service, call)

        def change(record: FunctionRecord) -> FunctionRecord:
            kept = {k: v for k, v in _kept(record, kind).items() if k != qualifier}
            return _replaced(record, kind, kept)

        service.store.change(call.function, change)
        return Reply(204)

    return operation


def list_all(kind: str) -> Operation:
    def operation(service: FunctionService, call: FcCall) -> Reply:
        requested = call.query.get("functionName", "")
        rows = [
            (f"{record.name}/{qualifier}", _view(kind, service, record, qualifier, call))
            for record in service.store.all()
            if requested in {"", record.name}
            for qualifier in sorted(_kept(record, kind))
        ]
        page, token = paged(call, rows)
        return Reply(document={f"{kind}Configs": page, "nextToken": token})

    return operation


def put_concurrency(service: FunctionService, call: FcCall) -> Reply:
    count = call.document().get("reservedConcurrency")
    if not isinstance(count, int) or count < 0:
        raise invalid(f"reservedConcurrency is {count}, expected a number of instances")
    record = service.store.change(call.function, lambda r: replace(r, reserved_concurrency=count))
    return Reply(document=_concurrency(service, record))


def get_concurrency(service: FunctionService, call: FcCall) -> Reply:
    record = service.store.get(call.function)
    if record.reserved_concurrency is None:
        raise FcError(404, "ConcurrencyConfigNotFound", f"no concurrency config for {call.function}")
    return Reply(document=_concurrency(service, record))


def delete_concurrency(service: FunctionService, call: FcCall) -> Reply:
    service.store.change(call.function, lambda record: replace(record, reserved_concurrency=None))
    return Reply(204)


def list_concurrency(service: FunctionService, call: FcCall) -> Reply:
    requested = call.query.get("functionName", "")
    found = [
        (record.name, _concurrency(service, record))
        for record in service.store.all()
        if record.reserved_concurrency is not None and requested in {"", record.name}
    ]
    page, token = paged(call, found)
    return Reply(document={"configs": page, "nextToken": token})


def list_instances(service: FunctionService, call: FcCall) -> Reply:
    """The running processes. LATEST has version 0."""
    record, qualifier = service.store.get(call.function), call.qualifier
    requested = record.alias(qualifier).version_id if qualifier in record.aliases else qualifier
    rows: list[Json] = [
        {
            "instanceId": instance.instance_id,
            "versionId": "0" if instance.resolved.version_id == LATEST else instance.resolved.version_id,
            "qualifier": qualifier or instance.resolved.version_id,
            "status": "Running",
            "createdTimeMs": int(instance.process.created_s * 1000),
        }
        for instance in service.instances.running(call.function)
        if requested in {"", instance.resolved.version_id}
    ]
    return Reply(document={"instances": rows, "requestId": call.request_id})


def _with(record: FunctionRecord, kind: str, call: FcCall, request: Json, service: FunctionService) -> FunctionRecord:
    qualifier = _qualifier(record, call)
    before = _kept(record, kind).get(qualifier)
    start = before.current(operations.target_of(kind, before.config), call.now_s) if before else 0
    until_s = call.now_s + float(call.script.get("in_progress_s", service.settings.converge_s))
    error = str(call.script.get("reason", "")) if call.script.get("end") == "Failed" else ""
    if call.script.get("end") == "Failed" and not error:
        error = str(call.script.get("reason_code", "an internal error has occurred"))
    after = ScalingRecord(request, start, until_s, error)
    return _replaced(record, kind, {**_kept(record, kind), qualifier: after})


def _kept(record: FunctionRecord, kind: str) -> dict[str, ScalingRecord]:
    return dict(record.scaling if kind == "scaling" else record.provision)


def _replaced(record: FunctionRecord, kind: str, kept: dict[str, ScalingRecord]) -> FunctionRecord:
    return replace(record, scaling=kept) if kind == "scaling" else replace(record, provision=kept)


def _checked(service: FunctionService, call: FcCall) -> str:
    return _qualifier(service.store.get(call.function), call)


def _qualifier(record: FunctionRecord, call: FcCall) -> str:
    qualifier = call.qualifier or LATEST
    if qualifier.isdigit():
        raise invalid(f"qualifier is '{qualifier}': instances are held ready for an alias or LATEST only")
    if qualifier != LATEST:
        record.alias(qualifier)
    return qualifier


def _view(kind: str, service: FunctionService, record: FunctionRecord, qualifier: str, call: FcCall) -> Json:
    held = _kept(record, kind)[qualifier]
    target = operations.target_of(kind, held.config)
    current = held.current(target, call.now_s)
    current = min(current, int(call.script.get("ready_at_most", current)))
    arn = f"{service.arn(record.name)}/{qualifier}"
    if kind == "scaling":
        counts: Json = {"currentInstances": current, "targetInstances": target}
    else:
        counts = {"current": current, "target": target, "defaultTarget": target}
    return {**held.config, **counts, "currentError": held.error, "functionArn": arn}


def _concurrency(service: FunctionService, record: FunctionRecord) -> Json:
    return {"functionArn": service.arn(record.name), "reservedConcurrency": record.reserved_concurrency}
