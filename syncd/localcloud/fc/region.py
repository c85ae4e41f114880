"""Function Compute 2023-03-30 in one region, on this machine."""

import json
import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syncd.localcloud.counters import Call as Counted
from syncd.localcloud.counters import Counters
from syncd.localcloud.faults import Answer, FaultRule, FaultScript, State, run_with_faults
from syncd.localcloud.fc import functions, routes
from syncd.localcloud.fc.acs3 import Keys, SignedCall, verify
from syncd.localcloud.fc.errors import FcError
from syncd.localcloud.fc.images import ImageTable
from syncd.localcloud.fc.instances import Instances, Surroundings, clear_strays
from syncd.localcloud.fc.invoke import SYNC_BYTES_MAX
from syncd.localcloud.fc.mounts import ObjectMounts, Storage
from syncd.localcloud.fc.routes import Route
from syncd.localcloud.fc.rules import Settings
from syncd.localcloud.fc.service import Call, Reply, Service
from syncd.localcloud.fc.shelf import Shelf
from syncd.localcloud.messages import Body, Request, Response

_NAMED_IN_BODY = {"CreateFunction": "functionName", "CreateAlias": "aliasName"}


@dataclass
class FcRegion:
    """One region's Function Compute. `handle` may be called from many threads between `start` and `stop`.

    What a call has changed is in `root` when it is answered; a region made again on the same root goes on
    from there. `clock` is in seconds since 1970; `chance` in [0, 1) draws the version of a call of an alias.

    A fault rule's resource is the function, or `function/version`, `function/alias`, `function/qualifier`.
    A `State` rule for CreateFunction, UpdateFunction, PutProvisionConfig or PutScalingConfig may say
    `in_progress_s`, `end` (Successful or Failed), `reason_code` and `reason`. One for GetProvisionConfig,
    GetScalingConfig or a list of them may say `ready_at_most`, how many instances are shown as ready.
    """

    region: str
    account_id: str
    root: Path
    credentials: Keys
    oss: ObjectMounts
    nas_root: Path
    faults: FaultScript
    counters: Counters
    images: ImageTable | None = None
    settings: Settings = field(default_factory=Settings)
    clock: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random
    oss_elsewhere: Mapping[str, ObjectMounts] = field(default_factory=dict)
    _service: Service | None = field(default=None, init=False, repr=False)

    def start(self) -> None:
        """Read what is on disk and end what a server before left running. Starting twice is starting once."""
        if self._service is not None:
            return
        root = self.root.resolve()
        clear_strays(root)
        self.images = self.images or ImageTable(root / "images.json")
        surroundings = Surroundings(
            self.account_id,
            root,
            Storage(self.region, self.oss, self.oss_elsewhere, self.nas_root),
            self.images,
            self.settings.start_limit_s,
        )
        self._service = Service(
            self.region,
            self.account_id,
            Shelf(root / "functions"),
            Instances(surroundings),
            self.images,
            self.settings,
            self.clock,
            self.chance,
        )

    def stop(self) -> None:
        """End every function process; the calls in them fail. May be repeated."""
        if self._service is None:
            return
        service, self._service = self._service, None
        service.instances.close()
        for thread in list(service.background):
            thread.join()

    def put_image(self, name: str, argv: Sequence[str] = (), digest: str | None = None) -> None:
        """Push an image: what `repo:tag` runs, and its digest."""
        self._started().images.put(name, argv, digest)

    def remove_image(self, name: str) -> None:
        """Delete a tag from the image repository."""
        self._started().images.remove(name)

    def have_function(self, document: Mapping[str, Any]) -> None:
        """Create a function from CreateFunction's body, without HTTP; one of its name that is there stays as it is.

        Raises:
            FcError: It is not as it may be.
        """
        service = self._started()
        if any(record.name == document.get("functionName") for record in service.shelf.all()):
            return
        body = json.dumps(dict(document)).encode()
        call = Call("", "", {}, lambda _name: "", body, _request_id(), self.clock())
        functions.create_function(service, call)

    def handle(self, request: Request) -> Response:
        """Answer one request as the real service would, or as the fault script wants."""
        service, request_id = self._service, _request_id()
        if service is None:
            return _refused(FcError(503, "ServiceUnavailable", "the region is not started"), request_id)
        data = request.body.read(SYNC_BYTES_MAX + 1)
        request.body = Body.of(data)  # it is needed to know what is being named, before any fault can touch it
        try:
            route = routes.find(request.method, request.path)
        except FcError as error:
            return _refused(error, request_id)
        resource = _resource(route, request, data)
        rules = self.faults.take("fc", route.name, resource)
        response = run_with_faults(
            self.faults,
            rules,
            request,
            lambda: self._answer(service, request, route, rules, request_id),
            lambda answer: _scripted(answer, request_id),
        )
        status = 0 if response.wire is not None and response.wire.reset else response.status
        sent = len(response.body) if isinstance(response.body, bytes) else 0
        self.counters.record(Counted("fc", route.name, resource, status, len(data), sent, self.region))
        return response

    def _answer(
        self, service: Service, request: Request, route: Route, rules: list[FaultRule], request_id: str
    ) -> Response:
        body = request.body.read()
        script = {k: v for rule in rules if isinstance(rule.action, State) for k, v in rule.action.values.items()}
        try:
            now_s = self._verified(request, body)
            call = Call(
                function=route.function,
                item=route.item,
                query=dict(request.query),
                header=request.headers.get,
                body=body,
                request_id=request_id,
                now_s=now_s,
                script=script,
            )
            return _rendered(route.operation(service, call), request_id)
        except FcError as error:
            return _refused(error, request_id)

    def _verified(self, request: Request, body: bytes) -> float:
        if len(body) > SYNC_BYTES_MAX:
            raise FcError(400, "EntityTooLarge", f"the body is more than {SYNC_BYTES_MAX} bytes")
        now_s = self.clock()
        signed = SignedCall(request.method, request.path, request.query, request.headers.get, body)
        verify(signed, self.credentials, now_s)
        return now_s

    def _started(self) -> Service:
        if self._service is None:
            raise RuntimeError(f"region {self.region} is not started")
        return self._service


def _resource(route: Route, request: Request, data: bytes) -> str:
    """What a fault rule's pattern is held against: `function` or `function/version-alias-or-qualifier`."""
    item = route.item or dict(request.query).get("qualifier", "")
    named_in = _NAMED_IN_BODY.get(route.name)
    if named_in is not None:
        try:
            item = str(json.loads(data)[named_in])
        except (ValueError, KeyError, TypeError):
            item = ""
    return "/".join(part for part in (route.function, item) if part)


def _rendered(reply: Reply, request_id: str) -> Response:
    body = reply.body
    kind = "application/octet-stream"
    if reply.document is not None:
        body, kind = json.dumps(reply.document, separators=(",", ":")).encode(), "application/json"
    return Response(reply.status, [*_ids(request_id), ("Content-Type", kind), *reply.headers], body)


def _refused(error: FcError, request_id: str, headers: Mapping[str, str] | None = None) -> Response:
    body = json.dumps(error.document(request_id)).encode()
    extra = (headers or {}).items()
    return Response(error.status, [*_ids(request_id), ("Content-Type", "application/json"), *extra], body)


def _scripted(answer: Answer, request_id: str) -> Response:
    if answer.body is None:
        return _refused(FcError(answer.status, answer.code, answer.message), request_id, answer.headers)
    return Response(answer.status, [*_ids(request_id), *answer.headers.items()], answer.body.encode())


def _ids(request_id: str) -> Sequence[tuple[str, str]]:
    return (("x-acs-request-id", request_id), ("x-fc-request-id", request_id))


def _request_id() -> str:
    return f"1-{int(time.time()):08x}-{secrets.token_hex(12)}"
