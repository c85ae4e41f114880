"""InvokeFunction: resolves the qualifier to a version, leases an instance, and reports the version in headers."""

import base64
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from syncd.localcloud.fc.api.service import FcCall, FunctionService, Reply
from syncd.localcloud.fc.errors import FcError, invalid, not_started
from syncd.localcloud.fc.functions import operations
from syncd.localcloud.fc.functions.operations import ResolvedVersion
from syncd.localcloud.fc.functions.records import LATEST
from syncd.localcloud.fc.functions.validation import is_container
from syncd.localcloud.fc.instances.pool import InitializationFailedError, Instance

SYNC_BYTES_MAX = 32 * 1024 * 1024
ASYNC_BYTES_MAX = 128 * 1024
_ASYNC_RUNS_MAX = 4  # one run and three retries


def invoke_function(service: FunctionService, call: FcCall) -> Reply:
    """Run the function once. An error inside the function is a 200 with X-Fc-Error-Type."""
    record = service.store.get(call.function)
    if record.restriction.get("disable"):
        reason = record.restriction.get("reason")
        raise FcError(403, "AccessDenied", f"invocation of function '{call.function}' is disabled: {reason}")
    kind = call.header("x-fc-invocation-type") or "Sync"
    if kind not in {"Sync", "Async"}:
        raise invalid(f"x-fc-invocation-type is '{kind}', expected Sync or Async")
    most = SYNC_BYTES_MAX if kind == "Sync" else ASYNC_BYTES_MAX
    if len(call.body) > most:
        raise FcError(400, "EntityTooLarge", f"payload is {len(call.body)} bytes, expected at most {most}")
    resolved = operations.resolve(record, call.qualifier, service.chance(), call.now_s)
    _check_image(service, call.function, resolved)
    if kind == "Sync":
        return _run(service, call, resolved)
    thread = threading.Thread(target=_run_async, args=(service, call, resolved), name="fc-async", daemon=True)
    service.background.add(thread)
    thread.start()
    task_id = call.header("x-fc-async-task-id") or call.request_id
    return Reply(202, headers=[("X-Fc-Async-Task-Id", task_id)])


def _run_async(service: FunctionService, call: FcCall, resolved: ResolvedVersion) -> None:
    try:
        for _ in range(_ASYNC_RUNS_MAX):
            try:
                reply = _run(service, call, resolved)
            except FcError:
                return  # no instance started: an asynchronous call has no caller to report to
            if not any(name == "X-Fc-Error-Type" for name, _ in reply.headers):
                return
    finally:
        service.background.discard(threading.current_thread())


def _run(service: FunctionService, call: FcCall, resolved: ResolvedVersion) -> Reply:
    try:
        with service.instances.lease(call.function, resolved) as instance:
            return _post(service, call, instance)
    except InitializationFailedError as failure:
        headers = [*_version_headers(resolved), ("X-Fc-Error-Type", "InitializationError")]
        return Reply(body=str(failure).encode(), headers=headers)


def _post(service: FunctionService, call: FcCall, instance: Instance) -> Reply:
    config = instance.resolved.running.config
    began = time.monotonic()
    error_type, body = "", b""
    try:
        answered = instance.process.post(
            "/invoke", _invocation_headers(service, call, instance), call.body, config["timeout"]
        )
        body = answered.body
        if not 200 <= answered.status < 300:
            error_type = "UnhandledInvocationError"
    except TimeoutError:
        error_type, body = (
            "UnhandledInvocationError",
            _failure(f"Function timed out after {config['timeout']} seconds"),
        )
    except ConnectionError as cause:
        error_type, body = "UnhandledInvocationError", _failure(f"Process exited unexpectedly: {cause}")
    headers = [
        *_version_headers(instance.resolved),
        ("X-Fc-Instance-Id", instance.instance_id),
        ("X-Fc-Invocation-Duration", str(int((time.monotonic() - began) * 1000))),
    ]
    if error_type:
        headers.append(("X-Fc-Error-Type", error_type))
    if call.header("x-fc-log-type") == "Tail":
        headers.append(("X-Fc-Log-Result", base64.b64encode(instance.process.log_tail().encode()).decode()))
    return Reply(body=body, headers=headers)


def _invocation_headers(service: FunctionService, call: FcCall, instance: Instance) -> dict[str, str]:
    """The headers that the function's server receives."""
    return {
        "Content-Type": "application/octet-stream",
        "x-fc-request-id": call.request_id,
        "x-fc-function-name": call.function,
        "x-fc-qualifier": call.qualifier or LATEST,
        "x-fc-version-id": instance.resolved.version_id,
        "x-fc-region": service.region,
        "x-fc-account-id": service.account_id,
        "x-fc-instance-id": instance.instance_id,
        "x-fc-control-path": "/invoke",
    }


def _version_headers(resolved: ResolvedVersion) -> Sequence[tuple[str, str]]:
    """The version under both header names: the documentation is not consistent."""
    return (
        ("X-Fc-Invocation-Function-Version", resolved.version_id),
        ("X-Fc-Invocation-Service-Version", resolved.version_id),
    )


def _check_image(service: FunctionService, function: str, resolved: ResolvedVersion) -> None:
    running = resolved.running
    if not is_container(running.config) or running.image is None:
        return
    unavailable_reason = service.images.unavailable_reason(
        running.config["customContainerConfig"]["image"], running.image
    )
    if not unavailable_reason:
        return
    if resolved.version_id == LATEST:
        service.store.change(function, lambda r: replace(r, ruined=unavailable_reason) if r.latest == running else r)
    raise not_started(unavailable_reason)


def _failure(message: str) -> bytes:
    return json.dumps({"errorMessage": message, "errorType": "FunctionUnhandledError"}).encode()
