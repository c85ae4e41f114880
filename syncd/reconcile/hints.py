"""What webhooks told: nothing is believed of it, the registry is looked at."""

from __future__ import annotations

import secrets

import structlog

from syncd.reconcile.rooms import Rooms
from syncd.reconcile.watch import look
from syncd.state import deliveries
from syncd.state.records import Release

log = structlog.get_logger("syncd.hints")


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
        with rooms.state.write() as conn:
            deliveries.looked(conn, registry, claim, rooms.state.now(conn))
        log.info("looked because of a webhook", registry=registry, deliveries=told, releases=[r.id for r in asked])
    return asked


def look_if_told(rooms: Rooms, registry: str, *, auto_release: bool) -> bool:
    """Look if something was told since the last look. Returns whether it was.

    Raises:
        Unavailable, Refused: As `look` does.
    """
    with rooms.state.read() as conn:
        if not deliveries.is_waiting(conn, registry):
            return False
    look_and_settle(rooms, registry, auto_release=auto_release)
    return True


def _claimed(rooms: Rooms, registry: str, claim: str) -> int:
    with rooms.state.read() as conn:  # most polls find nothing, and then need not wait for a writer
        if not deliveries.is_waiting(conn, registry):
            return 0
    with rooms.state.write() as conn:
        return deliveries.claim(conn, registry, claim)
