"""Routes of the API. Each calls the same functions as the command of that name."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from syncd.api.dependencies import Caller, Server, address_of, keep, server_of
from syncd.api.metrics import CONTENT_TYPE
from syncd.api.openapi import DOCUMENT
from syncd.api.parsed_body import parse, parsed
from syncd.api.responses import ALWAYS, ProblemResponse, body_of, document, json_of, long_document, with_etag
from syncd.api.stream import stream
from syncd.api.webhooks import signatures
from syncd.api.webhooks.signatures import SignedRequest
from syncd.api.webhooks.webhooks import UNKNOWN_WEBHOOK
from syncd.artifact.names import ModelName, parse_model, parse_version
from syncd.errors import Invalid, SyncdError
from syncd.plan.roles import Role
from syncd.reconcile.drift.resolve import bindings_named
from syncd.reconcile.repair import repairs
from syncd.reconcile.requests import operations
from syncd.reconcile.requests.operations import IdempotencyKey
from syncd.reconcile.requests.quotas import check_quotas
from syncd.reconcile.requests.version_names import named_version
from syncd.reconcile.views import overview
from syncd.reconcile.views.health import health as health_report
from syncd.reconcile.views.model_versions import model_versions
from syncd.reconcile.views.plans.advice import AdviceQuestion, advice
from syncd.reconcile.views.plans.document import plan_document
from syncd.reconcile.views.release import (
    approval,
    history,
    load,
    parse_release,
    release_line,
    release_list,
    retried_list,
)
from syncd.reconcile.views.release import document as release_document
from syncd.reconcile.views.shapes.repairs import RepairsDocument
from syncd.reconcile.views.shapes.requests import (
    RELEASE_PATTERN,
    EmptyRequest,
    FreezeRequest,
    PublishNameRequest,
    PublishRequest,
    ReasonRequest,
    RepairRequest,
    RollbackRequest,
)
from syncd.reconcile.views.shapes.serving import (
    DeliveryDocument,
    FreezeDocument,
    HealthDocument,
    HoldDocument,
    LiftedDocument,
    ReadyComponentDocument,
    RefusalDocument,
    RefusalsDocument,
)
from syncd.reconcile.views.starts import starts
from syncd.reconcile.views.verification import last as last_verification
from syncd.state import schema_version
from syncd.state.records import Release
from syncd.state.releases import events, idempotency, releases

LIST_MAX: Final = 200
LIST_DEFAULT: Final = 20
_DOCUMENT: Final = json.dumps(DOCUMENT, separators=(",", ":")).encode()
_KEY: Final = re.compile(r"[\x21-\x7e]{1,128}")
_RELEASE: Final = re.compile(RELEASE_PATTERN)
Endpoint = Callable[[Request], Awaitable[Response]]


async def healthz(request: Request) -> Response:
    """Liveness: the main loop makes passes. Does not query the database."""
    if server_of(request).site.pulse.is_alive():
        return document(HealthDocument(status="ok").as_json())
    raise ProblemResponse(
        503, "stuck", "the daemon has not started a pass for too long", hint="restart it; nothing is lost"
    )


async def readyz(request: Request) -> Response:
    """Readiness: the loop runs, the record has this schema version, and every registry was polled once.

    What the daemon works with stands in the body and never changes the status: an outage elsewhere must not take
    rollback out of the Service.
    """
    server = server_of(request)
    pulse = server.site.pulse
    if not pulse.is_alive():
        raise ProblemResponse(503, "not_ready", "the daemon has not started a pass for too long", hint="restart it")
    try:
        await server.ask(lambda: schema_version.check(server.site.state))
    except SyncdError as error:
        raise ProblemResponse(503, "not_ready", error.message, hint=error.hint) from error
    unpolled = pulse.unpolled()
    if unpolled:
        raise ProblemResponse(
            503, "not_ready", f"not polled yet: {', '.join(unpolled)}", hint="wait for the first poll"
        )
    components = [
        ReadyComponentDocument(section=each.section, name=each.name, state=each.state, since=each.since)
        for each in pulse.components.shown()
    ]
    return document(HealthDocument(status="ok", components=components).as_json())


async def health(request: Request) -> Response:
    """The health of the daemon and of all that it works with."""
    server = server_of(request)
    await server.caller(request, Role.READ)
    site = server.site
    found = await server.ask(lambda: health_report(site.state, site.topology, site.pulse.components.shown()))
    return document(found.as_json())


async def metrics(request: Request) -> Response:
    """Metrics for Prometheus, in its text format."""
    server = server_of(request)
    await server.caller(request, Role.READ)
    return Response(await server.ask(server.metrics.scrape), headers=ALWAYS, media_type=CONTENT_TYPE)


async def openapi(request: Request) -> Response:
    """The OpenAPI document."""
    del request
    return long_document(_DOCUMENT)


async def list_releases(request: Request) -> Response:
    """Releases, newest first."""
    server = server_of(request)
    await server.caller(request, Role.READ)
    limit, model, before = _limit(request), _model(request), _before(request)

    def read() -> list[Release]:
        with server.site.state.read() as conn:
            found = releases.recent(conn, limit + 1, model, before)
        if model is not None and not found and before is None:
            operations.check_served(server.site.topology, model)
        return found

    found = await server.ask(read)
    return document(release_list(found[:limit], found[limit - 1].id if len(found) > limit else ""))


async def show_release(request: Request) -> Response:
    """The full history of a release."""
    server = server_of(request)
    await server.caller(request, Role.READ)
    release = parse_release(request.path_params["release"])

    def read() -> dict[str, object]:
        scene = load(server.site.state, release)
        with server.site.state.read() as conn:
            return history(scene, events.of_release(conn, release))

    return document(await server.ask(read))


async def list_models(request: Request) -> Response:
    """The models that are served, and their live versions."""
    server = server_of(request)
    await server.caller(request, Role.READ)
    return document(await server.ask(lambda: overview.models(server.site.state, server.site.topology)))


async def list_versions(request: Request) -> Response:
    """The versions of a model: in its registry and in the record. Reads the registry."""
    server = server_of(request)
    await server.caller(request, Role.READ)
    model = parse_model(request.path_params["model"])
    return document(await server.ask(lambda: model_versions(server.site.world, model)))


async def plan(request: Request) -> Response:
    """What a release would move and flip. Contacts the registry, targets and runtimes; changes nothing."""
    server = server_of(request)
    await server.caller(request, Role.READ)
    name = request.query_params.get("name", "")
    return document(await server.ask(lambda: plan_document(server.site.world, name)))


async def status(request: Request) -> Response:
    """The overview, as `syncd status` shows it."""
    server = server_of(request)
    await server.caller(request, Role.READ)
    model = _model(request)
    found = await server.ask(lambda: overview.overview(server.site.state, server.site.topology, model))
    return with_etag(request, found, is_volatile="seen_at")


async def verification(request: Request) -> Response:
    """The results of the last run of `syncd verify`. Starts no new one."""
    server = server_of(request)
    await server.caller(request, Role.READ)
    model = _model(request)
    found = await server.ask(lambda: last_verification(server.site.state, server.site.topology, model))
    return document(found.as_json())


async def drift(request: Request) -> Response:
    """Drift by the newest checks, as `syncd drift` shows it. Starts no new check."""
    server = server_of(request)
    await server.caller(request, Role.READ)
    name, ended = request.query_params.get("name"), _flag(request, "ended")
    topology = server.site.topology
    names = [each.name for each in (topology.bindings.values() if name is None else bindings_named(topology, name))]
    most = overview.ENDED_MAX if ended else 0
    return document(
        await server.ask(lambda: overview.drift_document(server.site.state, topology, names, ended_max=most))
    )


async def show_starts(request: Request) -> Response:
    """Recorded cold starts, as `syncd status --starts` shows them."""
    server = server_of(request)
    await server.caller(request, Role.READ)
    model = _model(request)
    return document(await server.ask(lambda: starts(server.site.state, server.site.topology, model)))


async def show_advice(request: Request) -> Response:
    """Where a model should live in each region, and why."""
    server = server_of(request)
    await server.caller(request, Role.READ)
    model, version = _model(request), request.query_params.get("version")
    if model is None:
        raise Invalid("model: expected a model's name")
    name = None if version is None else parse_version(version)
    question = AdviceQuestion(
        _count(request, "starts"),
        _count(request, "calls"),
        reads_twice=_flag(request, "reads_twice"),
        multi_zone=_flag(request, "multi_zone"),
    )
    return document(await server.ask(lambda: advice(server.site.world, model, name, question)))


async def publish(request: Request) -> Response:
    """Request a release."""
    server = server_of(request)
    caller = await server.caller(request, Role.PUBLISH)
    sent = await json_of(request)
    if "name" in sent:
        named = parse(PublishNameRequest, sent)
        return await _publish_named(server, caller, named.name, _once(request, caller.name))
    asked = parse(PublishRequest, sent)
    model, ref = parse_model(asked.model), parse_version(asked.ref)
    once = _once(request, caller.name)

    def request_release() -> Release:
        operations.check_served(server.site.topology, model)
        if not _asked_before(server, once):
            operations.check_known(server.site.world, model, ref)
            check_quotas(server.site.world, model)
        return operations.publish(server.requester(caller), model, ref, once)

    return await _under_way(server, await server.ask(request_release))


async def _publish_named(server: Server, caller: Caller, name: str, key: IdempotencyKey | None) -> Response:
    once = None if key is None else replace(key, asked=name)

    def request_release() -> Release:
        requester = server.requester(caller)
        if once is not None and (known := operations.repeated(requester, once)) is not None:
            return known
        found = named_version(server.site.world, name)
        operations.check_served(server.site.topology, found.model)
        operations.check_known(server.site.world, found.model, found.version)
        check_quotas(server.site.world, found.model)
        return operations.publish(requester, found.model, found.version, once)

    return await _under_way(server, await server.ask(request_release))


async def rollback(request: Request) -> Response:
    """Roll back to the previous version or to a named one, and hold."""
    server = server_of(request)
    caller = await server.caller(request, Role.OPERATE)
    model, asked = request.path_params["model"], await parsed(request, RollbackRequest)
    begun = await server.ask(lambda: operations.rollback(server.requester(caller), model, asked.why, asked.to))
    return await _under_way(server, begun)


async def dismiss(request: Request) -> Response:
    """Take a release that ended without being live off the status."""
    server = server_of(request)
    caller = await server.caller(request, Role.OPERATE)
    release, why = parse_release(request.path_params["release"]), await _why(request)
    return document(release_line(await server.ask(lambda: operations.dismiss(server.requester(caller), release, why))))


async def retry(request: Request) -> Response:
    """Make the waiting steps of a release, or of all in flight, due now."""
    server = server_of(request)
    caller = await server.caller(request, Role.OPERATE)
    await parsed(request, EmptyRequest)
    given = request.path_params.get("release")
    release = None if given is None else parse_release(given)
    found = await server.ask(lambda: operations.retry(server.requester(caller), release))
    server.site.wake()
    return document(retried_list(found))


async def cancel(request: Request) -> Response:
    """Cancel a release before it moves any alias."""
    server = server_of(request)
    caller = await server.caller(request, Role.OPERATE)
    release, why = parse_release(request.path_params["release"]), await _why(request)
    return await _under_way(server, await server.ask(lambda: operations.cancel(server.requester(caller), release, why)))


async def approve(request: Request) -> Response:
    """Approve a release that waits for a person."""
    server = server_of(request)
    caller = await server.caller(request, Role.OPERATE)
    await parsed(request, EmptyRequest)
    release = parse_release(request.path_params["release"])
    given = await server.ask(lambda: operations.approve(server.requester(caller), release))
    server.site.wake()
    return document(approval(given))


async def hold(request: Request) -> Response:
    """Hold a model."""
    server = server_of(request)
    caller = await server.caller(request, Role.OPERATE)
    model, why = request.path_params["model"], await _why(request)
    held = await server.ask(lambda: operations.hold(server.requester(caller), model, why or operations.MANUAL))
    return document(HoldDocument.model_validate(held).as_json())


async def unhold(request: Request) -> Response:
    """Lift a hold."""
    server = server_of(request)
    caller = await server.caller(request, Role.OPERATE)
    await parsed(request, EmptyRequest)
    model = request.path_params["model"]
    lifted = await server.ask(lambda: operations.unhold(server.requester(caller), model))
    server.site.wake()
    return document(LiftedDocument(model=model, lifted=lifted).as_json())


async def freeze(request: Request) -> Response:
    """Freeze one model or all: only rollbacks flip."""
    server = server_of(request)
    caller = await server.caller(request, Role.OPERATE)
    asked = await parsed(request, FreezeRequest)
    model, why = request.path_params.get("model"), asked.why or operations.MANUAL
    lasts = operations.freeze_time(asked.hours)
    put = await server.ask(lambda: operations.freeze(server.requester(caller), model, why, lasts))
    return document(FreezeDocument.model_validate(put).as_json())


async def unfreeze(request: Request) -> Response:
    """Lift a freeze."""
    server = server_of(request)
    caller = await server.caller(request, Role.OPERATE)
    await parsed(request, EmptyRequest)
    model = request.path_params.get("model")
    lifted = await server.ask(lambda: operations.unfreeze(server.requester(caller), model))
    server.site.wake()
    return document(LiftedDocument(model=model, lifted=lifted).as_json())


async def repair(request: Request) -> Response:
    """Repair a version's files: the daemon does it, and `GET` of the same place shows how it ends."""
    server = server_of(request)
    caller = await server.caller(request, Role.OPERATE)
    asked = await parsed(request, RepairRequest)
    model = parse_model(request.path_params["model"])
    requester = server.requester(caller)

    def request_repairs() -> RepairsDocument:
        wanted = repairs.request(requester, model, asked.version or None, asked.target or None)
        return repairs.document(requester.world, wanted)

    found = await server.ask(request_repairs)
    server.site.wake()
    return document(found.as_json(), 202)


async def list_repairs(request: Request) -> Response:
    """The newest repair of each placement of a model."""
    server = server_of(request)
    await server.caller(request, Role.READ)
    model = parse_model(request.path_params["model"])

    def read() -> RepairsDocument:
        found = repairs.of_model(server.site.world, model)
        if not found:
            operations.check_served(server.site.topology, model)
        return repairs.document(server.site.world, found)

    return document((await server.ask(read)).as_json())


async def refusals(request: Request) -> Response:
    """The callers that were refused in the last hour."""
    server = server_of(request)
    await server.caller(request, Role.OPERATE)
    listed = [RefusalDocument(**asdict(each)) for each in server.refused.listed()]
    return document(RefusalsDocument(refusals=listed).as_json())


async def hook(request: Request) -> Response:
    """Receive a delivery: it is in the record when this answers, and the registry is polled soon."""
    server = server_of(request)
    found = server.site.hooks.get(request.path_params["hook"], UNKNOWN_WEBHOOK)
    times = Counter(name for name, _ in request.headers.items())
    once = {name: value for name, value in request.headers.items() if times[name] == 1}
    head = SignedRequest(once, dict(request.query_params), b"")
    try:
        if found.is_shown(head):
            keep(request)
        elif not signatures.is_signed(head):
            raise signatures.refused()
        sent = replace(head, body=await body_of(request))
        now_s = server.site.clock()
        received = await server.ask(lambda: found.read(sent, now_s))
    except ProblemResponse as error:
        if error.status in {400, 401}:
            server.refused.note(error.code, found.name, address_of(request))
            server.metrics.count_delivery(found.name, "refused")
        raise
    keep(request)
    server.metrics.count_delivery(found.name, "accepted")
    accepted = DeliveryDocument(accepted=len(received), new=await server.intake.take(received))
    return document(accepted.as_json(), 202)


async def _under_way(server: Server, release: Release) -> Response:
    server.site.wake()
    scene = await server.ask(lambda: load(server.site.state, release.id))
    return document(release_document(scene), 202, {"Location": f"/v1/releases/{release.id}"})


def _asked_before(server: Server, once: IdempotencyKey | None) -> bool:
    """Whether the key is known: then the current contents of the registry do not matter."""
    if once is None:
        return False
    with server.site.state.read() as conn:
        return idempotency.is_known(conn, once.asker, once.key)


def _once(request: Request, name: str) -> IdempotencyKey | None:
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise Invalid("Idempotency-Key: expected 1 to 128 printable characters without blanks")
    return IdempotencyKey(name, key)


async def _why(request: Request) -> str:
    """The optional reason, in a body that has nothing else."""
    return (await parsed(request, ReasonRequest)).why


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(LIST_DEFAULT))
    if not (text.isascii() and text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= LIST_MAX):
        raise Invalid(f"limit: expected a number from 1 to {LIST_MAX}")
    return int(text)


def _count(request: Request, key: str) -> int | None:
    text = request.query_params.get(key)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 6 and int(text)):
        raise Invalid(f"{key}: expected a number from 1 to 999999")
    return int(text)


def _flag(request: Request, key: str) -> bool:
    text = request.query_params.get(key, "false")
    if text not in {"true", "false"}:
        raise Invalid(f"{key}: expected true or false")
    return text == "true"


def _before(request: Request) -> int | None:
    text = request.query_params.get("before")
    if text is None:
        return None
    if not _RELEASE.fullmatch(text):
        raise Invalid("before: expected the id of a release", hint="send the `next` of the page before")
    return int(text.removeprefix("r-"))


def _model(request: Request) -> ModelName | None:
    text = request.query_params.get("model")
    return None if text is None else parse_model(text)


def _v1(path: str, endpoint: Endpoint, method: str, *query: str) -> Route:
    """A route below /v1, which refuses query keys other than `query`: a misspelt filter must not be ignored."""

    async def checked(request: Request) -> Response:
        for key, count in Counter(name for name, _ in request.query_params.multi_items()).items():
            if key not in query:
                hint = f"known keys: {', '.join(query)}" if query else "this path has none"
                raise Invalid(f"the query has an unknown key {ascii(key)[:80]}", hint=hint)
            if count > 1:
                raise Invalid(f"{key}: expected one value, got {count}")
        return await endpoint(request)

    return Route(f"/v1{path}", checked, methods=[method])


ROUTES: Final = (
    Route("/healthz", healthz, methods=["GET"]),
    Route("/readyz", readyz, methods=["GET"]),
    Route("/metrics", metrics, methods=["GET"]),
    Route("/openapi.json", openapi, methods=["GET"]),
    _v1("/releases", list_releases, "GET", "model", "limit", "before"),
    _v1("/releases", publish, "POST"),
    _v1("/releases/{release}", show_release, "GET"),
    _v1("/releases/{release}/cancel", cancel, "POST"),
    _v1("/releases/{release}/approve", approve, "POST"),
    _v1("/releases/{release}/dismiss", dismiss, "POST"),
    _v1("/releases/{release}/retry", retry, "POST"),
    _v1("/retry", retry, "POST"),
    _v1("/models", list_models, "GET"),
    _v1("/models/{model:path}/versions", list_versions, "GET"),
    _v1("/models/{model:path}/rollback", rollback, "POST"),
    _v1("/models/{model:path}/hold", hold, "POST"),
    _v1("/models/{model:path}/unhold", unhold, "POST"),
    _v1("/models/{model:path}/freeze", freeze, "POST"),
    _v1("/models/{model:path}/unfreeze", unfreeze, "POST"),
    _v1("/models/{model:path}/repair", repair, "POST"),
    _v1("/models/{model:path}/repairs", list_repairs, "GET"),
    _v1("/everything/freeze", freeze, "POST"),
    _v1("/everything/unfreeze", unfreeze, "POST"),
    _v1("/health", health, "GET"),
    _v1("/status", status, "GET", "model"),
    _v1("/plan", plan, "GET", "name"),
    _v1("/verification", verification, "GET", "model"),
    _v1("/starts", show_starts, "GET", "model"),
    _v1("/advice", show_advice, "GET", "model", "version", "starts", "calls", "reads_twice", "multi_zone"),
    _v1("/drift", drift, "GET", "name", "ended"),
    _v1("/events", stream, "GET", "after"),
    _v1("/refusals", refusals, "GET"),
    Route("/hooks/{hook}", hook, methods=["POST"]),
)
