"""Webhook hints: deliveries name models to poll early. Their content is never trusted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from syncd.artifact.names import ModelName
from syncd.reconcile.context import Context
from syncd.reconcile.discovery.poll import poll_model, served_from
from syncd.reconcile.requests.create import RequestOrigin
from syncd.state.access import deliveries
from syncd.state.records import Release, Version

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
    if not places:
        return WebhookHints()
    served = frozenset(served_from(context, registry))
    found = {place: [model for model in _models_above(place) if model in served] for place in places if place}
    unserved = {place for place, models in found.items() if not models}
    if unserved:
        with context.state.write() as conn:
            deliveries.mark_ignored(conn, registry, unserved, context.state.now(conn))
    models = tuple(dict.fromkeys(model for each in found.values() for model in each))
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


def poll_hinted(  # noqa: PLR0913 -- the poll, the deliveries it covers, and what its caller knows already
    context: Context,
    registry: str,
    model: ModelName,
    claim: str,
    *,
    is_whole: bool,
    auto_release: bool,
    known: Sequence[Version] | None = None,
    is_quiet: bool = False,
) -> list[Release]:
    """Poll a model and settle the hints about it that came before.

    Only the recorded versions that the hints name are compared; with `is_whole` all are, and the poll takes place even
    without a hint. `known` are the recorded versions of the model, and `is_quiet` says that there are no hints, where
    the caller has looked.

    Raises:
        As `poll_model`; then nothing is settled.
    """
    count, refs = (0, set[str]()) if is_quiet else _claimed(context, registry, model, claim)
    if not count and not is_whole:
        return []
    origin = RequestOrigin.WEBHOOK if count else RequestOrigin.POLL
    names = () if is_whole else refs
    requested = poll_model(
        context, registry, model, names, auto_release=auto_release, origin=origin, known=known if is_whole else None
    )
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


def _models_above(place: str) -> list[ModelName]:
    """The names of models that a location may be, or be below of."""
    parts = place.split("/")
    return [ModelName("/".join(parts[:n])) for n in range(1, len(parts) + 1)]
