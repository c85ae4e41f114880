"""Starts view: medians, tails and stages of recorded first answers, by version, region and kind of storage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from statistics import median
from typing import Any, Final

from syncd.artifact.names import parse_model
from syncd.plan.topology import Topology
from syncd.reconcile.requests.operations import check_served
from syncd.reconcile.views.shapes.starts import StartsDocument, VersionStartsDocument
from syncd.state.content import versions
from syncd.state.records import LoadTime, Version
from syncd.state.serving import load_times
from syncd.state.state import State

_MS: Final = 1000


def starts(state: State, topology: Topology, model: str | None = None) -> dict[str, Any]:
    """Cold starts of every version, of one model or of all, as JSON: newest version first. Contacts no cloud.

    Other answers, of instances that were ready or had run before, are counted apart. `than_before` compares the median
    with that of the newest earlier version in the same region from the same kind of storage.

    Raises:
        NotFound: No binding serves the model.
    """
    if model is not None:
        check_served(topology, parse_model(model))
    wanted = topology.models() if model is None else (model,)
    rows: list[VersionStartsDocument] = []
    with state.read() as conn:
        for name in wanted:
            seen: dict[tuple[str, str], float] = {}
            of_model = []
            for version in versions.known(conn, name):
                of_model += _of(version, load_times.of_version(conn, version.id), seen)
            rows += reversed(of_model)
    return StartsDocument(starts=rows).as_json()


def _of(version: Version, times: Sequence[LoadTime], seen: dict[tuple[str, str], float]) -> list[VersionStartsDocument]:
    """The rows of a version. `seen` has the last median of each region and kind of storage, and gets these."""
    rows = []
    for place, group in groupby(times, key=lambda time: (time.region, time.target_kind)):
        those = list(group)
        cold = sorted(time.answer_ms / _MS for time in those if time.cold)
        middle = median(cold) if cold else None
        before = seen.get(place)
        rows.append(
            VersionStartsDocument(
                model=version.model,
                version=version.name,
                region=place[0],
                target_kind=place[1],
                size_bytes=version.size_bytes,
                cold_starts=len(cold),
                others=len(those) - len(cold),
                median_s=middle,
                p95_s=cold[math.ceil(0.95 * len(cold)) - 1] if cold else None,
                stages_s=_stages([time for time in those if time.cold] or those),  # prewarmed ones have stages too
                than_before=round(middle / before, 3) if middle is not None and before else None,
            )
        )
        if middle is not None:
            seen[place] = middle
    return rows


def _stages(times: Sequence[LoadTime]) -> dict[str, float]:
    """The median of each stage that was recorded, in the order in which they were first."""
    names = dict.fromkeys(name for time in times for name in time.stages)
    return {name: median(time.stages[name] for time in times if name in time.stages) / _MS for name in names}
