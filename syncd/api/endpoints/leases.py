"""Leases of readers outside syncd."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from syncd.api.dependencies import server_of
from syncd.api.parsed_body import parsed
from syncd.api.responses import document
from syncd.plan.roles import Role
from syncd.reconcile.requests import lease_requests
from syncd.reconcile.views.shapes.requests import LeaseRequest
from syncd.reconcile.views.shapes.serving import LeaseDocument, LeaseEndDocument, LeasesDocument
from syncd.state.releases.leases import Lease


async def list_leases(request: Request) -> Response:
    """List the leases in effect."""
    server = server_of(request)
    await server.caller(request, Role.READ)
    found = await server.ask(lambda: lease_requests.in_effect(server.site.state))
    return document(LeasesDocument(leases=[_document(each) for each in found]).as_json())


async def put_lease(request: Request) -> Response:
    """Take or renew a lease."""
    server = server_of(request)
    caller = await server.caller(request, Role.PUBLISH)
    asked, name = await parsed(request, LeaseRequest), request.path_params["lease"]
    taken = await server.ask(
        lambda: lease_requests.take(server.requester(caller), name, asked.model, asked.version, asked.hours)
    )
    return document(_document(taken).as_json())


async def end_lease(request: Request) -> Response:
    """End a lease."""
    server = server_of(request)
    caller = await server.caller(request, Role.PUBLISH)
    name = request.path_params["lease"]
    ended = await server.ask(lambda: lease_requests.end(server.requester(caller), name))
    return document(LeaseEndDocument(name=name, ended=ended).as_json())


def _document(lease: Lease) -> LeaseDocument:
    model, _, rest = lease.version_id.partition("@")
    return LeaseDocument(
        name=lease.name,
        model=model,
        version=rest.rpartition("#")[0],
        who=lease.who,
        since=lease.since,
        until=lease.until,
    )
