"""Webhook hints: deliveries name models to poll early. Their content is never trusted."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

import structlog

from syncd.artifact.names import ModelName
from syncd.reconcile.context import Context
from syncd.reconcile.discovery.poll import poll_model, served_from
from syncd.reconcile.requests.create import RequestOrigin
from syncd.state.access import deliveries
from syncd.state.records import Release

log = structlog.get_logger("syncd.hints")

LOCATIONS_MAX: Final = 1000  # of one poll; with more of them, every model is polled


@dataclass(frozen=True, slots=True)
class WebhookHints:
    """What to poll. `is_too_much`: more locations than are told apart."""

    models: tuple[ModelName, ...] = ()
    is_everything: bool = False
    is_too_much: bool = False


def pending_hints(context: Context, registry: str, claims: Collection[str]) -> WebhookHints:
    """Hints about a registry that none of `claims` has claimed. Hints about models that are not served are settled."""
    with context.state.read() as conn:
        places = [place for place, _ in deliveries.waiting(conn, registry, claims, LOCATIONS_MAX + 1)]
    if len(places) > LOCATIONS_MAX:
        return WebhookHints(is_everything=True, is_too_much=True)
    served = served_from(context, registry)
    unserved = {place for place in places if place and not any(_is_of(place, model) for model in served)}
    if unserved:
        with context.state.write() as conn:
            deliveries.mark_ignored(conn, registry, unserved, context.state.now(conn))
    models = tuple(model for model in served if any(_is_of(place, model) for place in places))
    return WebhookHints(models, is_everything="" in places)


def claim_all(context: Context, registry: str, claim: str, *, is_too_much: bool) -> int:
    """Claim the hints that have no model, or all hints, for a poll of every model. Returns the number of new claims."""
    with context.state.write() as conn:
        return deliveries.claim(conn, registry, claim, None if is_too_much else "")


def settle(
    context: Context, registry: str, claim: str, count: int, models: Collection[str], requested: Iterable[str]
) -> None:
    """Settle the hints of a claim: they need no other poll. Claims of a failed poll stay for the next one."""
    with context.state.write() as conn:
        deliveries.mark_polled(conn, registry, claim, context.state.now(conn))
    log.info("webhook.polled", message="A webhook caused a poll.", registry=registry, models=[*models],
             deliveries=count, releases=[*requested])  # fmt: skip


def poll_hinted(
    context: Context, registry: str, model: ModelName, claim: str, *, is_whole: bool, auto_release: bool
) -> list[Release]:
    """Poll a model and settle the hints about it that came before.

    Only the recorded versions that the hints name are compared; with `is_whole` all are, and the poll takes place even
    without a hint.

    Raises:
        As `poll_model`; then nothing is settled.
    """
    count, refs = _claimed(context, registry, model, claim)
    if not count and not is_whole:
        return []
    origin = RequestOrigin.WEBHOOK if count else RequestOrigin.POLL
    requested = poll_model(context, registry, model, () if is_whole else refs, auto_release=auto_release, origin=origin)
    if count:
        settle(context, registry, claim, count, [model], [release.id for release in requested])
    return requested


def _claimed(context: Context, registry: str, model: ModelName, claim: str) -> tuple[int, set[str]]:
    """The number of hints about a model, and the versions that they name; no names: compare all."""
    with context.state.read() as conn:  # most polls find no hint, and then need not wait for a writer
        if not deliveries.is_waiting(conn, registry):
            return 0, set()
    with context.state.write() as conn:
        count = deliveries.claim(conn, registry, claim, model)
        places = deliveries.claimed(conn, registry, claim, LOCATIONS_MAX + 1)
    refs = {ref if place == model else place[len(model) + 1 :].partition("/")[0] for place, ref in places}
    return count, set() if "" in refs or len(places) > LOCATIONS_MAX else refs


def _is_of(place: str, model: ModelName) -> bool:
    """Whether a location is a model, or is below it."""
    return place == model or place.startswith(f"{model}/")
