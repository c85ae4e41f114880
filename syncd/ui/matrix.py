"""The first screen: models × regions, and what needs a person."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from starlette.responses import Response

from syncd.plan.phases import ReleasePhase
from syncd.reconcile.views.overview import overview_page
from syncd.reconcile.views.shapes.overview import InFlightDocument, LiveDocument, StatusDocument
from syncd.ui.attention import attention
from syncd.ui.visits import Visit

PAGE_MODELS: Final = 50  # × 20 regions: 1000 cells


@dataclass(frozen=True, slots=True)
class Cell:
    """One binding in one region."""

    binding: str
    version: str | None
    since: datetime | None
    candidate: str  # the version that a release brings, "" for none
    percent: int | None  # its share of the requests; None before the first flip
    drift: str

    @property
    def state(self) -> str:
        """The state as a word, which has a shape and a colour beside it."""
        if self.drift:
            return "drift"
        if self.candidate:
            return "moving"
        return "live" if self.version else "none"


@dataclass(frozen=True, slots=True)
class Row:
    """One model."""

    model: str
    held: str
    frozen: str
    release: InFlightDocument | None
    cells: Mapping[str, Sequence[Cell]]  # by region


async def matrix(visit: Visit) -> Response:
    """The page. `find` is a part of a model's name."""
    return visit.page("matrix", **await _values(visit))


async def matrix_part(visit: Visit) -> Response:
    """What changes of the page, for a page that is open."""
    return visit.page("matrix_part", **await _values(visit))


async def _values(visit: Visit) -> dict[str, object]:
    topology, state = visit.server.site.topology, visit.server.site.state
    find, page = visit.request.query_params.get("find", "")[:200], _number(visit.request.query_params.get("page", "1"))
    found = [model for model in sorted(topology.models()) if find.lower() in model.lower()]
    pages = max(1, -(-len(found) // PAGE_MODELS))
    page = min(page, pages)
    shown = found[(page - 1) * PAGE_MODELS : page * PAGE_MODELS]
    status = await visit.server.ask(lambda: overview_page(state, topology, shown))
    items, more = attention(status)
    regions = sorted({region for runtime, region in topology.regions.items() if topology.bindings_in(runtime)})
    everything = next((each for each in status.frozen if each.model == "*"), None)
    return {
        "rows": rows(status, shown),
        "regions": regions,
        "items": items,
        "more": more,
        "everything": everything,
        "find": find,
        "page": page,
        "pages": pages,
        "count": len(found),
    }


def rows(status: StatusDocument, shown: Sequence[str]) -> list[Row]:
    """The status by model and region."""
    held = {each.model: each.why for each in status.held}
    frozen = {each.model: each.why for each in status.frozen}
    moving = {each.model: each for each in status.in_flight}
    drifted = {each.binding: each.what for each in status.drifted}
    live: dict[str, list[LiveDocument]] = defaultdict(list)
    for each in status.live:
        live[each.model].append(each)
    found: list[Row] = []
    for model in shown:
        release = moving.get(model)
        cells: dict[str, list[Cell]] = defaultdict(list)
        for one in live[model]:
            cells[one.region].append(_cell(one, release, drifted.get(one.binding, "")))
        found.append(Row(model, held.get(model, ""), frozen.get(model, ""), release, cells))
    return found


def _cell(one: LiveDocument, release: InFlightDocument | None, drift: str) -> Cell:
    share = None if release is None else next((s for s in release.shares if s.binding == one.binding), None)
    is_moved = release is not None and one.version == release.version and release.phase is not ReleasePhase.UNDOING
    candidate = "" if release is None or is_moved else release.version
    since = one.since if one.version else None  # the alias may be older than what it serves of this model
    return Cell(one.binding, one.version, since, candidate, share.percent if share else None, drift)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and 0 < len(text) <= 6 and int(text) else 1
