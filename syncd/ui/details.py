"""The pages of releases, models, bindings and registries."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Final

from starlette.responses import Response

from syncd.api.endpoints.arguments import before_of, model_of
from syncd.artifact.names import parse_model
from syncd.plan.phases import RELEASE_ENDS, ReleasePhase
from syncd.plan.roles import Role
from syncd.reconcile.views.console.model import binding_page, model_page
from syncd.reconcile.views.console.registries import registries_page
from syncd.reconcile.views.console.release import release_page, releases_page
from syncd.reconcile.views.release import parse_release
from syncd.reconcile.views.shapes.releases import ReleaseHistoryDocument
from syncd.reconcile.views.shapes.serving import RefusalDocument
from syncd.ui.attention import awaits_approval
from syncd.ui.visits import Visit

_WAY: Final = (
    ReleasePhase.REQUESTED,
    ReleasePhase.PLACING,
    ReleasePhase.STAGING,
    ReleasePhase.FLIPPING,
    ReleasePhase.LIVE,
)
_FAILED: Final = frozenset({ReleasePhase.STALLED, ReleasePhase.UNDONE, ReleasePhase.UNDOING})


async def release_list(visit: Visit) -> Response:
    """The releases, newest first, of one model or of all."""
    model, before = model_of(visit.request), before_of(visit.request)
    found = await visit.server.ask(lambda: releases_page(visit.server.site.state, model, before))
    return visit.page("releases", listed=found, model=model)


async def release(visit: Visit) -> Response:
    """A release: stages, copies, steps, aliases, who asked and approved, and what happened."""
    return visit.page("release", **await _release(visit))


async def release_part(visit: Visit) -> Response:
    """What changes of that page."""
    return visit.page("release_part", **await _release(visit))


async def _release(visit: Visit) -> dict[str, object]:
    release_id, state = parse_release(visit.request.path_params["release"]), visit.server.site.state
    rates = visit.dashboard.watches.rates(release_id)
    found = await visit.server.ask(lambda: release_page(state, release_id, rates))
    one = found.release
    hints = (one.hint, *(step.hint for step in one.steps))
    return {
        "page": found,
        "release": one,
        "phases": phases_of(one),
        "is_open": one.phase not in RELEASE_ENDS,
        "awaits_approval": any(awaits_approval(one.release, hint) for hint in hints),
        "is_failed": one.phase in {ReleasePhase.STALLED, ReleasePhase.UNDONE},
        "events": list(reversed(one.events)),
    }


def phases_of(one: ReleaseHistoryDocument) -> list[tuple[str, datetime | None, str]]:
    """The phases of a release in their order: name, when it was reached, and done, now, failed or ahead."""
    reached = {each.kind.removeprefix("release."): each.at for each in one.events if each.kind.startswith("release.")}
    if one.phase in _WAY:
        at = _WAY.index(one.phase)
        here = "done" if one.phase is ReleasePhase.LIVE else "now"
        states = ["done"] * at + [here] + ["ahead"] * (len(_WAY) - at - 1)
        return [(phase.value, reached.get(phase.value), state) for phase, state in zip(_WAY, states, strict=True)]
    passed = [(phase.value, reached[phase.value], "done") for phase in _WAY if phase.value in reached]
    return [*passed, (one.phase.value, reached.get(one.phase.value), "failed" if one.phase in _FAILED else "now")]


async def model(visit: Visit) -> Response:
    """A model: what serves it, its versions, their sizes by region, and its releases."""
    name, site = parse_model(visit.request.path_params["model"]), visit.server.site
    found = await visit.server.ask(lambda: model_page(site.state, site.topology, name))
    return visit.page("model", page=found)


async def binding(visit: Visit) -> Response:
    """A binding: its alias, what it serves, and its drift."""
    name, site = visit.request.path_params["binding"], visit.server.site
    found = await visit.server.ask(lambda: binding_page(site.state, site.topology, name))
    return visit.page("binding", page=found)


async def registries(visit: Visit) -> Response:
    """The registries: their last poll, deliveries, and for those who operate the callers that were refused."""
    site = visit.server.site
    found = await visit.server.ask(lambda: registries_page(site.state, site.topology, site.pulse.components.shown()))
    refused = visit.server.refused.listed() if visit.caller.role.allows(Role.OPERATE) else []
    return visit.page("registries", found=found, refused=[RefusalDocument(**asdict(each)) for each in refused])
