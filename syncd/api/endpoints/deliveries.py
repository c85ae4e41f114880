"""Deliveries of registries to webhooks."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from syncd.api.dependencies import address_of, keep, server_of
from syncd.api.responses import ProblemResponse, body_of, document
from syncd.api.webhooks import signatures
from syncd.api.webhooks.signatures import SignedRequest
from syncd.api.webhooks.webhooks import UNKNOWN_WEBHOOK
from syncd.reconcile.views.shapes.serving import DeliveryDocument


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
