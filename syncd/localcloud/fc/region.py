"""Function Compute of one region, and of all regions of a local cloud."""

import json
import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syncd.localcloud.account import KeyLookup
from syncd.localcloud.counters import CallRecord, Counters
from syncd.localcloud.faults import FaultRule, FaultScript, Respond, SetState, run_with_faults
from syncd.localcloud.fc.api import functions, routes
from syncd.localcloud.fc.api.acs3 import SignedCall, verify
from syncd.localcloud.fc.api.invocation import SYNC_BYTES_MAX
from syncd.localcloud.fc.api.routes import Route
from syncd.localcloud.fc.api.service import FcCall, FunctionService, Reply
from syncd.localcloud.fc.errors import FcError
from syncd.localcloud.fc.functions.function_store import FunctionStore
from syncd.localcloud.fc.functions.operations import Settings
from syncd.localcloud.fc.images.image_table import ImageTable
from syncd.localcloud.fc.instances.mounts import ObjectMounts, Storage
from syncd.localcloud.fc.instances.pool import InstanceContext, InstancePool, clear_strays
from syncd.localcloud.httpd.messages import Body, Handler, ServerRequest, ServerResponse
from syncd.localcloud.server import RegionContext

_NAMED_IN_BODY = {"CreateFunction": "functionName", "CreateAlias": "aliasName"}


class SteadyClock:
    """POSIX seconds that go on evenly from where the wall clock stood when this was made."""

    def __init__(self) -> None:
        self._offset_s = time.time() - time.monotonic()

    def __call__(self) -> float:
        return self._offset_s + time.monotonic()


@dataclass
class FcRegion:
    """One region's Function Compute. `handle` is thread-safe between `start` and `stop`.

    Changes are durable in `root` before the response; a new region on the same root continues from there.
    `clock` gives POSIX seconds, by which signatures are checked. Where it is the machine's own, states last by a clock
    that no step of it moves: this machine may be set back by hours, a real cloud is not. `chance` gives a number in
    [0, 1) that selects an alias's version.

    A fault rule's resource is the function, or `function/version`, `function/alias`, `function/qualifier`.
    A `State` rule for CreateFunction, UpdateFunction, PutProvisionConfig or PutScalingConfig may say
    `in_progress_s`, `end` (Successful or Failed), `reason_code` and `reason`. One for GetProvisionConfig,
    GetScalingConfig or their lists may say `ready_at_most`, the most instances reported as ready.
    """

    region: str
    account_id: str
    root: Path
    credentials: KeyLookup
    oss: ObjectMounts
    nas_root: Path
    faults: FaultScript
    counters: Counters
    images: ImageTable | None = None
    settings: Settings = field(default_factory=Settings)
    clock: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random
    oss_elsewhere: Mapping[str, ObjectMounts] = field(default_factory=dict)
    _service: FunctionService | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._states_clock: Callable[[], float] = SteadyClock() if self.clock is time.time else self.clock

    def start(self) -> None:
        """Load the state and kill processes of an earlier server. Idempotent."""
        if self._service is not None:
            return
        root = self.root.resolve()
        clear_strays(root)
        self.images = self.images or ImageTable(root / "images.json")
        surroundings = InstanceContext(
            self.account_id,
            root,
            Storage(self.region, self.oss, self.oss_elsewhere, self.nas_root),
            self.images,
            self.settings.start_limit_s,
        )
        self._service = FunctionService(
            self.region,
            self.account_id,
            FunctionStore(root / "functions"),
            InstancePool(surroundings),
            self.images,
            self.settings,
            self._states_clock,
            self.chance,
        )

    def stop(self) -> None:
        """Kill every function process; calls in progress fail. Idempotent."""
        if self._service is None:
            return
        service, self._service = self._service, None
        service.instances.close()
        for thread in list(service.background):
            thread.join()

    def put_image(self, name: str, argv: Sequence[str] = (), digest: str | None = None) -> None:
        """Push an image under `repo:tag`."""
        self._started().images.put(name, argv, digest)

    def remove_image(self, name: str) -> None:
        """Delete a tag from the image repository."""
        self._started().images.remove(name)

    def ensure_function(self, document: Mapping[str, Any]) -> None:
        """Create a function from CreateFunction's body, without HTTP. An existing function stays unchanged.

        Raises:
            FcError: The document is invalid.
        """
        service = self._started()
        if any(record.name == document.get("functionName") for record in service.store.all()):
            return
        body = json.dumps(dict(document)).encode()
        call = FcCall("", "", {}, lambda _name: "", body, _request_id(), self._states_clock())
        functions.create_function(service, call)

    def handle(self, request: ServerRequest) -> ServerResponse:
        """Answer one request, or inject the faults of the script."""
        service, request_id = self._service, _request_id()
        if service is None:
            return _refused(FcError(503, "ServiceUnavailable", "the region is not started"), request_id)
        data = request.body.read(SYNC_BYTES_MAX + 1)
        request.body = Body.of(data)  # the resource name is read from the body before a fault can change it
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
        self.counters.record(CallRecord("fc", route.name, resource, status, len(data), sent, self.region))
        return response

    def _answer(
        self, service: FunctionService, request: ServerRequest, route: Route, rules: list[FaultRule], request_id: str
    ) -> ServerResponse:
        body = request.body.read()
        script = {k: v for rule in rules if isinstance(rule.action, SetState) for k, v in rule.action.values.items()}
        try:
            now_s = self._verified(request, body)
            call = FcCall(
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

    def _verified(self, request: ServerRequest, body: bytes) -> float:
        if len(body) > SYNC_BYTES_MAX:
            raise FcError(400, "EntityTooLarge", f"the body is more than {SYNC_BYTES_MAX} bytes")
        signed = SignedCall(request.method, request.path, request.query, request.headers.get, body)
        verify(signed, self.credentials, self.clock())
        return self._states_clock()

    def _started(self) -> FunctionService:
        if self._service is None:
            raise RuntimeError(f"region {self.region} is not started")
        return self._service


@dataclass
class FunctionCompute:
    """Function Compute of every region of a local cloud. `regions` fills as each region starts.

    `nas_root` is the root of all NAS file systems: `<mount target host>/<path>`.
    """

    nas_root: Path
    settings: Settings = field(default_factory=Settings)
    regions: dict[str, FcRegion] = field(default_factory=dict, init=False)

    def __call__(self, context: RegionContext) -> Handler:
        """Start one region; it stops with the cloud."""
        region = FcRegion(
            region=context.region,
            account_id=context.account.account_id,
            root=context.root,
            credentials=context.account,
            oss=context.oss[context.region],
            nas_root=self.nas_root,
            faults=context.faults,
            counters=context.counters,
            settings=self.settings,
            clock=context.clock,
            oss_elsewhere=context.oss,
        )
        region.start()
        context.on_stop.append(region.stop)
        self.regions[context.region] = region
        return region.handle


def _resource(route: Route, request: ServerRequest, data: bytes) -> str:
    """The resource name for fault rules: `function`, or `function/` with a version, alias or qualifier."""
    item = route.item or dict(request.query).get("qualifier", "")
    named_in = _NAMED_IN_BODY.get(route.name)
    if named_in is not None:
        try:
            item = str(json.loads(data)[named_in])
        except (ValueError, KeyError, TypeError):
            item = ""
    return "/".join(part for part in (route.function, item) if part)


def _rendered(reply: Reply, request_id: str) -> ServerResponse:
    body = reply.body
    kind = "application/octet-stream"
    if reply.document is not None:
        body, kind = json.dumps(reply.document, separators=(",", ":")).encode(), "application/json"
    return ServerResponse(reply.status, [*_ids(request_id), ("Content-Type", kind), *reply.headers], body)


def _refused(error: FcError, request_id: str, headers: Mapping[str, str] | None = None) -> ServerResponse:
    body = json.dumps(error.document(request_id)).encode()
    extra = (headers or {}).items()
    return ServerResponse(error.status, [*_ids(request_id), ("Content-Type", "application/json"), *extra], body)


def _scripted(answer: Respond, request_id: str) -> ServerResponse:
    if answer.body is None:
        return _refused(FcError(answer.status, answer.code, answer.message), request_id, answer.headers)
    return ServerResponse(answer.status, [*_ids(request_id), *answer.headers.items()], answer.body.encode())


def _ids(request_id: str) -> Sequence[tuple[str, str]]:
    return (("x-acs-request-id", request_id), ("x-fc-request-id", request_id))


def _request_id() -> str:
    return f"1-{int(time.time()):08x}-{secrets.token_hex(12)}"
