"""Reads: of the record, and where they say so of the registry. They change nothing."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from syncd.api.dependencies import Caller, server_of
from syncd.api.endpoints.arguments import before_of, count_of, flag_of, limit_of, model_of
from syncd.api.responses import document, with_etag
from syncd.artifact.names import parse_model, parse_model_at_version, parse_version
from syncd.errors import Invalid
from syncd.plan.roles import Role
from syncd.reconcile.drift.resolve import bindings_named
from syncd.reconcile.repair import repairs
from syncd.reconcile.requests import operations
from syncd.reconcile.views import cold_starts, overview
from syncd.reconcile.views.health import health as health_report
from syncd.reconcile.views.model_versions import model_versions
from syncd.reconcile.views.plans.advice import AdviceQuestion, advice
from syncd.reconcile.views.plans.document import plan_document
from syncd.reconcile.views.release import history, load, parse_release, release_list
from syncd.reconcile.views.shapes.repairs import RepairsDocument
from syncd.reconcile.views.shapes.serving import RefusalDocument, RefusalsDocument
from syncd.reconcile.views.starts import starts
from syncd.reconcile.views.verification import last as last_verification
from syncd.state.records import Release
from syncd.state.releases import events, releases


async def list_releases(request: Request) -> Response:
    """Releases, newest first."""
    server = server_of(request)
    await server.caller(request, Role.READ)
    limit, model, before = limit_of(request), model_of(request), before_of(request)

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


async def health(request: Request) -> Response:
    """The health of the daemon and of all that it works with."""
    server = server_of(request)
    caller = await server.caller(request, Role.READ)
    site = server.site
    found = await server.ask(lambda: health_report(site.state, site.topology, site.pulse.components.shown()))
    return document(_for(caller, found.as_json()))


async def status(request: Request) -> Response:
    """The overview, as `syncd status` shows it."""
    server = server_of(request)
    caller = await server.caller(request, Role.READ)
    model = model_of(request)
    found = await server.ask(lambda: overview.overview(server.site.state, server.site.topology, model))
    return with_etag(request, _for(caller, found), is_volatile="seen_at")


def _for(caller: Caller, found: dict[str, Any]) -> dict[str, Any]:
    """An answer for a caller: who was refused, and from where, is for those who may list it."""
    if caller.role.allows(Role.OPERATE) or found["refused"] is None:
        return found
    return {**found, "refused": {**found["refused"], "callers": []}}


async def verification(request: Request) -> Response:
    """The results of the last run of `syncd verify`. Starts no new one."""
    server = server_of(request)
    await server.caller(request, Role.READ)
    model = model_of(request)
    found = await server.ask(lambda: last_verification(server.site.state, server.site.topology, model))
    return document(found.as_json())


async def drift(request: Request) -> Response:
    """Drift by the newest checks, as `syncd drift` shows it. Starts no new check."""
    server = server_of(request)
    await server.caller(request, Role.READ)
    name, ended = request.query_params.get("name"), flag_of(request, "ended")
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
    model = model_of(request)
    return document(await server.ask(lambda: starts(server.site.state, server.site.topology, model)))


async def show_version(request: Request) -> Response:
    """A recorded version and its first answers, as `syncd show MODEL@VERSION` shows them."""
    server = server_of(request)
    await server.caller(request, Role.READ)
    model, version = parse_model_at_version(request.query_params.get("name", ""))
    return document(await server.ask(lambda: cold_starts.of_version(server.site.state, model, version)))


async def show_advice(request: Request) -> Response:
    """Where a model should live in each region, and why."""
    server = server_of(request)
    await server.caller(request, Role.READ)
    model, version = model_of(request), request.query_params.get("version")
    if model is None:
        raise Invalid("model: expected a model's name")
    name = None if version is None else parse_version(version)
    question = AdviceQuestion(
        count_of(request, "starts"),
        count_of(request, "calls"),
        reads_twice=flag_of(request, "reads_twice"),
        multi_zone=flag_of(request, "multi_zone"),
    )
    return document(await server.ask(lambda: advice(server.site.world, model, name, question)))


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
