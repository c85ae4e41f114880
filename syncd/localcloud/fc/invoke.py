"""Invocation: a call finds its version, the version an instance, and the answer says which it was."""

import base64
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from syncd.localcloud.fc import rules
from syncd.localcloud.fc.errors import FcError, invalid, not_started
from syncd.localcloud.fc.instances import InitializationFailedError, Instance
from syncd.localcloud.fc.record import LATEST
from syncd.localcloud.fc.rules import Resolved
from syncd.localcloud.fc.service import Call, Reply, Service
from syncd.localcloud.fc.shape import is_container

SYNC_BYTES_MAX = 32 * 1024 * 1024
ASYNC_BYTES_MAX = 128 * 1024
_ASYNC_RUNS_MAX = 4  # the first and three more


def invoke_function(service: Service, call: Call) -> Reply:
    """Run the function once. What goes wrong inside it is a 200 with X-Fc-Error-Type."""
    record = service.shelf.get(call.function)
    if record.restriction.get("disable"):
        reason = record.restriction.get("reason")
        raise FcError(403, "AccessDenied", f"invocation of function '{call.function}' is disabled: {reason}")
    kind = call.header("x-fc-invocation-type") or "Sync"
    if kind not in {"Sync", "Async"}:
        raise invalid(f"x-fc-invocation-type is '{kind}', want Sync or Async")
    most = SYNC_BYTES_MAX if kind == "Sync" else ASYNC_BYTES_MAX
    if len(call.body) > most:
        raise FcError(400, "EntityTooLarge", f"payload is {len(call.body)} bytes, want at most {most}")
    resolved = rules.resolve(record, call.qualifier, service.chance(), call.now_s)
    _check_image(service, call.function, resolved)
    if kind == "Sync":
        return _run(service, call, resolved)
    thread = threading.Thread(target=_run_until_well, args=(service, call, resolved), name="fc-async", daemon=True)
    service.background.add(thread)
    thread.start()
    task_id = call.header("x-fc-async-task-id") or call.request_id
    return Reply(202, headers=[("X-Fc-Async-Task-Id", task_id)])


def _run_until_well(service: Service, call: Call, resolved: Resolved) -> None:
    try:
        for _ in range(_ASYNC_RUNS_MAX):
            try:
                reply = _run(service, call, resolved)
            except FcError:
                return  # nobody waits for the answer; it never started
            if not any(name == "X-Fc-Error-Type" for name, _ in reply.headers):
                return
    finally:
        service.background.discard(threading.current_thread())


def _run(service: Service, call: Call, resolved: Resolved) -> Reply:
    try:
        with service.instances.borrowed(call.function, resolved) as instance:
            return _post(service, call, instance)
    except InitializationFailedError as failure:
        headers = [*_version_headers(resolved), ("X-Fc-Error-Type", "InitializationError")]
        return Reply(body=str(failure).encode(), headers=headers)


def _post(service: Service, call: Call, instance: Instance) -> Reply:
    config = instance.resolved.running.config
    began = time.monotonic()
    error_type, body = "", b""
    try:
        answered = instance.process.post("/invoke", _told(service, call, instance), call.body, config["timeout"])
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


def _told(service: Service, call: Call, instance: Instance) -> dict[str, str]:
    """The headers the function's own server sees."""
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


def _version_headers(resolved: Resolved) -> Sequence[tuple[str, str]]:
    """Both names that clients know; the documents do not agree on one."""
    return (
        ("X-Fc-Invocation-Function-Version", resolved.version_id),
        ("X-Fc-Invocation-Service-Version", resolved.version_id),
    )


def _check_image(service: Service, function: str, resolved: Resolved) -> None:
    running = resolved.running
    if not is_container(running.config) or running.image is None:
        return
    complaint = service.images.complaint(running.config["customContainerConfig"]["image"], running.image)
    if not complaint:
        return
    if resolved.version_id == LATEST:
        service.shelf.change(function, lambda r: replace(r, ruined=complaint) if r.latest == running else r)
    raise not_started(complaint)


def _failure(message: str) -> bytes:
    return json.dumps({"errorMessage": message, "errorType": "FunctionUnhandledError"}).encode()
