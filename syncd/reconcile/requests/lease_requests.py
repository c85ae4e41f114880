"""Leases that readers outside syncd ask for: a version that one has is not removed before the lease ends."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from syncd.artifact.names import parse_model, parse_version
from syncd.errors import Conflict, Invalid, NotFound
from syncd.plan.phases import PlacementPhase
from syncd.reconcile.requests.operations import Requester
from syncd.state.content import placements, versions
from syncd.state.releases import leases, retirements
from syncd.state.releases.leases import Lease
from syncd.state.state import State

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def take(requester: Requester, name: str, model: str, version: str, hours: float) -> Lease:
    """Take a lease on a version for so many hours from now. The same name again renews or moves it.

    Raises:
        Invalid: The name has other characters, or is too long.
        NotFound: There is no such version, or no copy of it.
        Conflict: It is being retired.
    """
    _check_name(name)
    wanted = f"{parse_model(model)}@{parse_version(version)}"
    with requester.state.write() as conn:
        known = versions.find(conn, parse_model(model), parse_version(version))
        placed = placements.of_version(conn, known.id) if known else []
        retired = retirements.find(conn, known.id) if known else None
        if retired is not None and retired.done_at is None:
            raise Conflict(f"{wanted} is being retired", hint=f"`syncd publish {wanted}` copies it again")
        if known is None or not any(each.phase is PlacementPhase.SEALED for each in placed):
            raise NotFound(f"no copy of {wanted}", hint=f"`syncd publish {wanted}` makes one")
        now = requester.state.now(conn)
        return leases.put(conn, name, known, requester.who, now + timedelta(hours=hours), now)


def end(requester: Requester, name: str) -> bool:
    """End a lease. Returns whether there was one. Raises Invalid: no lease has such a name."""
    _check_name(name)
    with requester.state.write() as conn:
        return leases.end(conn, name, requester.who, requester.state.now(conn))


def in_effect(state: State) -> list[Lease]:
    """The leases in effect, ordered by name."""
    with state.read() as conn:
        return leases.all(conn, state.now(conn))


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"the lease's name {ascii(name)[:80]} is not allowed",
            hint="letters, digits, '.', '_' and '-', beginning with a letter or digit, at most 64",
        )
