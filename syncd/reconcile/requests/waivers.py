"""Waivers of the trust policy: a person lets one release of the bytes of a version through."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import sqlalchemy as sa

from syncd.artifact.names import parse_model_at_version
from syncd.errors import Invalid, NotFound
from syncd.reconcile.requests.operations import REASON, Requester
from syncd.state.content import trust, versions
from syncd.state.content.trust import TrustWaiver
from syncd.state.records import Version
from syncd.values.shown_text import shown_text

HOURS_MAX: Final = 366 * 24.0


def waive(requester: Requester, model_at_version: str, why: str, hours: float) -> TrustWaiver:
    """Let one release of these bytes through within `hours`, whatever the policy says of them.

    Raises:
        NotFound: The version is not in the record, so that there is no digest to bind it to.
        Invalid: The reason is empty, too long or not printable, or the time is none.
    """
    if not why.strip():
        raise Invalid("a waiver needs a reason", hint="say who has looked at these bytes, and at what, with `--why`")
    shown_text(why, REASON)
    if not 0 < hours <= HOURS_MAX:
        raise Invalid(f"expected more than 0 and at most {HOURS_MAX:g} hours, got {hours:g}")
    with requester.state.write() as conn:
        now = requester.state.now(conn)
        return trust.waive(
            conn, _version(conn, model_at_version), requester.who, why, now + timedelta(hours=hours), now
        )


def unwaive(requester: Requester, model_at_version: str) -> bool:
    """Take a waiver back. False if there is none that could still be used. Raises NotFound: no such version."""
    with requester.state.write() as conn:
        return trust.unwaive(conn, _version(conn, model_at_version), requester.who, requester.state.now(conn))


def _version(conn: sa.Connection, model_at_version: str) -> Version:
    model, name = parse_model_at_version(model_at_version)
    found = versions.find(conn, model, name)
    if found is None:
        hint = f"`syncd publish {model_at_version}` records its digest, also where the policy refuses it"
        raise NotFound(f"{model_at_version} is not in the record: a waiver is bound to a digest", hint=hint)
    return found
