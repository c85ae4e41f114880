"""The HTTP side of Function Compute: verify, route, invoke."""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from tests.foreign.cloud.functions import FcError, Functions
from tests.foreign.cloud.instances import Instances
from tests.foreign.cloud.signatures import Key, Refused, verify_acs
from tests.foreign.cloud.signatures import Request as Signed
from tests.foreign.cloud.web import Request, Response, request_id

PREFIX: Final = "/2023-03-30/"
INVOKE_BYTES_MAX: Final = 32 * 1024 * 1024
Query = dict[str, str]
Body = dict[str, Any]
_ELASTICITY: Final = {"scaling-config": "scaling", "provision-config": "provision"}


class Fc:
    """Answers requests to the region's Function Compute."""

    def __init__(self, key: Key, functions: Functions, instances: Instances) -> None:
        self._key = key
        self._functions = functions
        self._instances = instances
        self._chance = random.Random(secrets.randbits(64))

    def answer(self, request: Request) -> Response:
        """Verify, route, and report errors as Function Compute does."""
        try:
            signed = Signed(request.method, request.path, list(request.query.items()), request.headers, request.body)
            verify_acs(self._key, signed, datetime.now(UTC))
            return self._route(request)
        except (FcError, Refused) as error:
            body = {"Code": error.code, "Message": str(error), "RequestId": request_id()}
            return _json(error.status, body)

    def _route(self, request: Request) -> Response:
        parts = request.path[len(PREFIX) :].strip("/").split("/")
        if parts[0] != "functions" or len(parts) > 4:
            raise FcError(400, "PathNotSupported", f"not played: {request.method} {request.path}")
        handler = self._handler(request, parts[1:])
        if handler is None:
            raise FcError(400, "PathNotSupported", f"not played: {request.method} {request.path}")
        result = handler()
        if isinstance(result, Response):
            return result
        return Response(204) if result is None else _json(200, result)

    def _handler(self, request: Request, path: list[str]) -> Callable[[], Response | Body | None] | None:
        query, functions = request.query, self._functions
        match (request.method, path):
            case ("GET", []):
                return lambda: functions.list_functions(query)
            case ("POST", []):
                return lambda: functions.create(_body(request))
            case ("GET", [name]):
                return lambda: functions.describe(name, query.get("qualifier", ""))
            case ("PUT", [name]):
                return lambda: functions.update(name, _body(request))
            case ("DELETE", [name]):
                return lambda: self._delete(name)
            case ("POST", [name, "invocations"]):
                return lambda: self._invoke(name, request)
            case (method, [name, kind]) if kind in _ELASTICITY:
                return self._elastic(method, name, _ELASTICITY[kind], request)
            case (method, [name, "versions", *rest]):
                return self._version(method, name, rest, request)
            case (method, [name, "aliases", *rest]):
                return self._alias(method, name, rest, request)
        return None

    def _elastic(self, method: str, name: str, kind: str, request: Request) -> Callable[[], Body | None] | None:
        query, functions = request.query, self._functions
        if method == "GET":
            return lambda: functions.elasticity(kind, name, query)
        if method == "PUT":
            return lambda: functions.put_elasticity(kind, name, query, _body(request))
        return (lambda: functions.delete_elasticity(kind, name, query)) if method == "DELETE" else None

    def _version(self, method: str, name: str, rest: list[str], request: Request) -> Callable[[], Body | None] | None:
        functions = self._functions
        match (method, rest):
            case ("GET", []):
                return lambda: functions.versions(name, request.query)
            case ("POST", []):
                return lambda: functions.publish(name, _body(request))
            case ("DELETE", [number]):
                return lambda: functions.delete_version(name, number)
        return None

    def _alias(self, method: str, name: str, rest: list[str], request: Request) -> Callable[[], Body | None] | None:
        functions = self._functions
        match (method, rest):
            case ("GET", []):
                return lambda: functions.aliases(name, request.query)
            case ("POST", []):
                return lambda: functions.create_alias(name, _body(request))
            case ("GET", [alias]):
                return lambda: functions.alias(name, alias)
            case ("PUT", [alias]):
                return lambda: functions.update_alias(name, alias, _body(request))
            case ("DELETE", [alias]):
                return lambda: functions.delete_alias(name, alias)
        return None

    def _delete(self, name: str) -> None:
        self._functions.delete(name)
        self._instances.stop(name)

    def _invoke(self, name: str, request: Request) -> Response:
        if request.header("x-fc-invocation-type", "Sync").lower() != "sync":
            raise FcError(501, "NotImplemented", "not played: asynchronous invocations")
        if len(request.body) > INVOKE_BYTES_MAX:
            raise FcError(413, "EntityTooLarge", "the payload exceeds 32 MB")
        version = self._chosen(name, request.query.get("qualifier", ""))
        started = time.monotonic()
        configuration = self._functions.running(name, version)
        status, body, instance = self._instances.invoke(name, version, configuration, request.body)
        headers = {
            "Content-Type": "application/octet-stream",
            "X-Fc-Request-Id": request_id(),
            "X-Fc-Instance-Id": instance,
            "X-Fc-Invocation-Duration": str(int((time.monotonic() - started) * 1000)),
            "x-fc-invocation-function-version": version,
            "x-fc-invocation-service-version": version,
        }
        # The container's own status and headers are dropped; this header reports a failure.
        if status >= 400:
            headers["X-Fc-Error-Type"] = "UnhandledInvocationError"
        return Response(200, body, headers)

    def _chosen(self, name: str, qualifier: str) -> str:
        """The version that serves one request: of an alias with a weight, by chance."""
        version = self._functions.resolve(name, qualifier)
        if qualifier in {"", "LATEST"} or qualifier.isdigit():
            return version
        for other, weight in self._functions.alias(name, qualifier)["additionalVersionWeight"].items():
            if self._chance.random() < weight:
                return str(other)
        return version


def _body(request: Request) -> Body:
    try:
        body = json.loads(request.body or b"{}")
    except ValueError as error:
        raise FcError(400, "InvalidArgument", "the body is not JSON") from error
    if not isinstance(body, dict):
        raise FcError(400, "InvalidArgument", "the body is no object")
    return body


def _json(status: int, body: Body) -> Response:
    headers = {"Content-Type": "application/json", "x-fc-request-id": request_id()}
    return Response(status, json.dumps(body).encode(), headers)
