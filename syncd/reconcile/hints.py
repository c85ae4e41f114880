"""What webhooks told: nothing is believed of it, what it is about is looked at."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Final

import structlog

from syncd.artifact.names import ModelName
from syncd.errors import SyncdError
from syncd.reconcile.rooms import Rooms
from syncd.reconcile.watch import look, look_at, served_from
from syncd.state import deliveries
from syncd.state.records import Release

log = structlog.get_logger("syncd.hints")

PLACES_MAX: Final = 1000  # of one look; whoever tells of more may as well have told of everything


def look_and_settle(rooms: Rooms, registry: str, *, auto_release: bool) -> list[Release]:
    """`look`, after which whatever was told of the registry before it began needs no other look.

    A look that fails, or is cut off by a crash, settles nothing: what was told is there for the next one.

    Raises:
        Unavailable, Refused: As `look` does.
    """
    claim = secrets.token_hex(8)
    told = _claimed(rooms, registry, claim)
    asked = look(rooms, registry, auto_release=auto_release)
    if told:
        _settle(rooms, registry, claim)
        _say(registry, told, ["*"], asked)
    return asked


def look_if_told(rooms: Rooms, registry: str, *, auto_release: bool) -> bool:
    """Look at what was told of since the last look, each model once; at everything where none is named.

    Returns whether anything was told. A model that cannot be looked at keeps no other from it, but nothing is settled.

    Raises:
        Unavailable, Refused: As `look` does.
    """
    claim = secrets.token_hex(8)
    told = _claimed(rooms, registry, claim)
    if not told:
        return False
    with rooms.state.read() as conn:
        places = deliveries.claimed(conn, registry, claim, PLACES_MAX + 1)
    if len(places) > PLACES_MAX or any(not place for place, _ in places):
        asked, models = look(rooms, registry, auto_release=auto_release), ["*"]
    else:
        refs = _models(places, served_from(rooms, registry))
        asked, models = _each(rooms, registry, refs, auto_release=auto_release), list(map(str, refs))
    _settle(rooms, registry, claim)
    _say(registry, told, models, asked)
    return True


def _each(rooms: Rooms, registry: str, models: Mapping[ModelName, set[str]], *, auto_release: bool) -> list[Release]:
    """Look at each. Raises the last error, once all were tried."""
    asked: list[Release] = []
    failed: SyncdError | None = None
    for model, refs in models.items():
        try:
            asked += look_at(rooms, registry, model, refs, auto_release=auto_release)
        except SyncdError as error:
            failed = error
    if failed is not None:
        raise failed
    return asked


def _models(places: Iterable[tuple[str, str]], served: Iterable[ModelName]) -> Mapping[ModelName, set[str]]:
    """The models that are told of, each with the versions that were named: none where all are to be compared.

    A place below a model's begins with the version. One that is no model's that is served is nothing to us.
    """
    refs: dict[ModelName, set[str]] = {}
    every: set[ModelName] = set()
    for place, ref in places:
        for model in served:
            if place != model and not place.startswith(f"{model}/"):
                continue
            version = ref if place == model else place[len(model) + 1 :].partition("/")[0]
            refs.setdefault(model, set()).add(version)
            every |= set() if version else {model}
    return {model: set() if model in every else named for model, named in refs.items()}


def _claimed(rooms: Rooms, registry: str, claim: str) -> int:
    with rooms.state.read() as conn:  # most polls find nothing, and then need not wait for a writer
        if not deliveries.is_waiting(conn, registry):
            return 0
    with rooms.state.write() as conn:
        return deliveries.claim(conn, registry, claim)


def _settle(rooms: Rooms, registry: str, claim: str) -> None:
    with rooms.state.write() as conn:
        deliveries.looked(conn, registry, claim, rooms.state.now(conn))


def _say(registry: str, told: int, models: list[str], asked: list[Release]) -> None:
    ids = [release.id for release in asked]
    log.info("looked because of a webhook", registry=registry, models=models, deliveries=told, releases=ids)
