"""What webhooks told: nothing is believed of it, what it is about is looked at."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

import structlog

from syncd.artifact.names import ModelName
from syncd.reconcile.context import Context
from syncd.reconcile.discovery.poll import poll_model, served_from
from syncd.reconcile.requests.create import Origin
from syncd.state.access import deliveries
from syncd.state.records import Release

log = structlog.get_logger("syncd.hints")

LOCATIONS_MAX: Final = 1000  # of one look; whoever tells of more may as well have told of everything


@dataclass(frozen=True, slots=True)
class WebhookHints:
    """What is to be looked at. `is_too_much`: more than can be told apart."""

    models: tuple[ModelName, ...] = ()
    is_everything: bool = False
    is_too_much: bool = False


def news(context: Context, registry: str, looks: Collection[str]) -> WebhookHints:
    """What was told of a registry and claimed by none of `looks`. What names no model that is served is settled."""
    with context.state.read() as conn:
        places = [place for place, _ in deliveries.waiting(conn, registry, looks, LOCATIONS_MAX + 1)]
    if len(places) > LOCATIONS_MAX:
        return WebhookHints(is_everything=True, is_too_much=True)
    served = served_from(context, registry)
    nobodys = {place for place in places if place and not any(_is_of(place, model) for model in served)}
    if nobodys:
        with context.state.write() as conn:
            deliveries.mark_ignored(conn, registry, nobodys, context.state.now(conn))
    models = tuple(model for model in served if any(_is_of(place, model) for place in places))
    return WebhookHints(models, is_everything="" in places)


def claim_all(context: Context, registry: str, claim: str, *, is_too_much: bool) -> int:
    """Claim what names no model, or all there is, for looks at every model. How much of it is new."""
    with context.state.write() as conn:
        return deliveries.claim(conn, registry, claim, None if is_too_much else "")


def settle(
    context: Context, registry: str, claim: str, told: int, models: Collection[str], asked: Iterable[str]
) -> None:
    """What was claimed needs no other look. What a look that failed had claimed is there for the next one."""
    with context.state.write() as conn:
        deliveries.mark_polled(conn, registry, claim, context.state.now(conn))
    log.info("looked because of a webhook", registry=registry, models=[*models], deliveries=told, releases=[*asked])


def poll_hinted(
    context: Context, registry: str, model: ModelName, claim: str, *, is_whole: bool, auto_release: bool
) -> list[Release]:
    """Look at a model, after which what was told of it before needs no other look.

    Of the versions that are known those are compared that were named; with `is_whole` all are, and there is a look
    though nothing was told.

    Raises:
        As `look_at` does; then nothing is settled.
    """
    told, refs = _claimed(context, registry, model, claim)
    if not told and not is_whole:
        return []
    origin = Origin.WEBHOOK if told else Origin.POLL
    asked = poll_model(context, registry, model, () if is_whole else refs, auto_release=auto_release, origin=origin)
    if told:
        settle(context, registry, claim, told, [model], [release.id for release in asked])
    return asked


def _claimed(context: Context, registry: str, model: ModelName, claim: str) -> tuple[int, set[str]]:
    """How much was told of a model, and of which versions: none where all are to be compared."""
    with context.state.read() as conn:  # most polls find nothing, and then need not wait for a writer
        if not deliveries.is_waiting(conn, registry):
            return 0, set()
    with context.state.write() as conn:
        told = deliveries.claim(conn, registry, claim, model)
        places = deliveries.claimed(conn, registry, claim, LOCATIONS_MAX + 1)
    refs = {ref if place == model else place[len(model) + 1 :].partition("/")[0] for place, ref in places}
    return told, set() if "" in refs or len(places) > LOCATIONS_MAX else refs


def _is_of(place: str, model: ModelName) -> bool:
    """Whether a place is a model, or lies below it."""
    return place == model or place.startswith(f"{model}/")
