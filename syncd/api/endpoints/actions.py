"""Actions on releases and models. Each calls the same function as the command of that name."""

from __future__ import annotations

from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from syncd.api.dependencies import Caller, Server, server_of
from syncd.api.endpoints.arguments import once_of, why_of
from syncd.api.parsed_body import parse, parsed
from syncd.api.responses import document, json_of
from syncd.artifact.names import parse_model, parse_version
from syncd.plan.roles import Role
from syncd.reconcile.repair import repairs
from syncd.reconcile.requests import operations, rollbacks
from syncd.reconcile.requests.operations import IdempotencyKey
from syncd.reconcile.requests.quotas import check_quotas
from syncd.reconcile.requests.version_names import named_version
from syncd.reconcile.views.release import approval, load, parse_release, release_line, retried_list
from syncd.reconcile.views.release import document as release_document
from syncd.reconcile.views.shapes.repairs import RepairsDocument
from syncd.reconcile.views.shapes.requests import (
    EmptyRequest,
    FreezeRequest,
    PublishNameRequest,
    PublishRequest,
    RepairRequest,
    RollbackRequest,
)
from syncd.reconcile.views.shapes.serving import FreezeDocument, HoldDocument, LiftedDocument
from syncd.state.records import Release
from syncd.state.releases import idempotency


async def publish(request: Request) -> Response:
    """Request a release."""
    server = server_of(request)
    caller = await server.caller(request, Role.PUBLISH)
    sent = await json_of(request)
    if "name" in sent:
        named = parse(PublishNameRequest, sent)
        return await _publish_named(server, caller, named.name, once_of(request, caller.name))
    asked = parse(PublishRequest, sent)
    model, ref = parse_model(asked.model), parse_version(asked.ref)
    server.check_model(caller, model)
    once = once_of(request, caller.name)

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
            server.check_model(caller, known.model)
            return known
        found = named_version(server.site.world, name)
        server.check_model(caller, found.model)
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
    begun = await server.ask(lambda: rollbacks.rollback(server.requester(caller), model, asked.why, asked.to))
    return await _under_way(server, begun)


async def dismiss(request: Request) -> Response:
    """Take a release that ended without being live off the status."""
    server = server_of(request)
    caller = await server.caller(request, Role.OPERATE)
    release, why = parse_release(request.path_params["release"]), await why_of(request)
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
    release, why = parse_release(request.path_params["release"]), await why_of(request)
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
    model, why = request.path_params["model"], await why_of(request)
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
