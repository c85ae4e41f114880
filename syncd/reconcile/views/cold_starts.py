"""First answer times: recorded with each probe, shown by release, and by version with the median of each region."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from syncd.errors import NotFound
from syncd.reconcile.views.shapes.first_answers import FirstAnswerDocument, RegionAnswersDocument, VersionDocument
from syncd.state.content import versions
from syncd.state.records import Flip, LoadTime
from syncd.state.serving import live, load_times
from syncd.state.state import State
from syncd.values.function import ProbeReport

if TYPE_CHECKING:  # it imports structlog, which `syncd show` does without
    from syncd.reconcile.context import Attempt


def record(
    conn: Connection, job: Attempt, flip: Flip, report: ProbeReport, *, warm: bool, ready_s: float | None = None
) -> None:
    """Record the first answer to a release's probe.

    It was a cold start if this release published the function version, no earlier attempt can have started an
    instance, and none were prewarmed. `ready_s` is how long those took to become ready.
    """
    topology = job.context.topology
    binding = topology.bindings[flip.binding]
    staged = live.function_versions(conn, binding.name)
    fresh = any(v.function_version == flip.to_version and v.release_id == job.release.id for v in staged)
    (bound,) = (model for model in binding.models if model.model == job.release.model)
    load_times.note(
        conn,
        LoadTime(
            release_id=job.release.id,
            binding=binding.name,
            version_id=job.release.version_id or "",
            region=topology.regions[binding.runtime],
            target_kind=topology.storage_kind(bound.target),
            cold=fresh and not warm and job.step.attempt == 1,
            answer_ms=round(report.seconds * 1000),
            inside_ms=_ms(report.inside_s),
            load_ms=_ms(report.load_s),
            at=job.context.state.now(conn),
            stages=_stages(report, ready_s),
        ),
    )


def _stages(report: ProbeReport, ready_s: float | None) -> dict[str, int]:
    """What was seen of the start, in milliseconds.

    `ready`: until prewarmed instances were ready. `start`: what the first answer took outside of the function, which
    for a cold start is the allocation, the image and the container. Then the stages of loading, and `answer`, the rest.
    """
    seen: dict[str, float] = {} if ready_s is None else {"ready": ready_s}
    inside_s = report.inside_s
    if inside_s is not None:
        seen["start"] = max(report.seconds - inside_s, 0.0)
    load = {f"load.{name}": value for name, value in report.load_stages_s.items()}
    if not load and report.load_s is not None:
        load = {"load": report.load_s}
    seen |= load
    if inside_s is not None and sum(load.values()) <= inside_s:  # loading may have been before the request
        seen["answer"] = inside_s - sum(load.values())
    return {name: round(value * 1000) for name, value in seen.items()}


def of_release(time: LoadTime) -> FirstAnswerDocument:
    """A first answer; times in seconds."""
    return FirstAnswerDocument(
        binding=time.binding,
        region=time.region,
        target_kind=time.target_kind,
        cold=time.cold,
        answer_s=time.answer_ms / 1000,
        inside_s=None if time.inside_ms is None else time.inside_ms / 1000,
        load_s=None if time.load_ms is None else time.load_ms / 1000,
        at=time.at,
    )


def of_version(state: State, model: str, version: str) -> dict[str, Any]:
    """A version as JSON, with the medians of its first answers by region and kind of target. Raises NotFound."""
    with state.read() as conn:
        found = versions.find(conn, model, version)
        if found is None:
            hint = f"`syncd releases {model}` lists its releases"
            raise NotFound(f"no version {model}@{version} in the record", hint=hint)
        times = load_times.of_version(conn, found.id)
    return VersionDocument(
        model=found.model,
        version=found.name,
        digest=found.digest.hex,
        size_bytes=found.size_bytes,
        first_answers=[
            _summary(region, kind, list(those))
            for (region, kind), those in groupby(times, key=lambda time: (time.region, time.target_kind))
        ],
    ).as_json()


def _summary(region: str, kind: str, times: Sequence[LoadTime]) -> RegionAnswersDocument:
    """Medians of cold starts and of other answers, kept apart."""
    cold = [time for time in times if time.cold]
    loads = [time.load_ms for time in cold if time.load_ms is not None]
    return RegionAnswersDocument(
        region=region,
        target_kind=kind,
        cold_starts=len(cold),
        cold_answer_s=median(time.answer_ms for time in cold) / 1000 if cold else None,
        cold_load_s=median(loads) / 1000 if loads else None,
        others=len(times) - len(cold),
        other_answer_s=median(t.answer_ms for t in times if not t.cold) / 1000 if len(times) > len(cold) else None,
    )


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)
