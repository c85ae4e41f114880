"""Tokens of the HTTP API. The record has a hash of each; the token itself is shown once, to its creator."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from syncd.artifact.digest import Digest
from syncd.errors import Conflict, Invalid, NotFound
from syncd.plan.roles import Role
from syncd.plan.token_limits import NO_LIMITS, TokenLimits
from syncd.secret import Secret
from syncd.state.db.rows import fetch_all, fetch_one, insert_new
from syncd.state.db.schema import tokens
from syncd.state.records import Token
from syncd.state.releases import events

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOKEN: Final = re.compile(r"syncd_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_NO_HASH: Final = Digest("0" * 64)  # compared when no such token exists, so that both cases take equally long


def create(
    conn: sa.Connection, name: str, role: Role, who: str, now: datetime, limits: TokenLimits = NO_LIMITS
) -> Secret:
    """Create a token and return it; it cannot be read again. It has 256 random bits.

    Raises:
        Invalid: The name is not allowed.
        Conflict: A token of that name exists.
    """
    if not _NAME.fullmatch(name):
        rule = "letters, digits, '.', '_' and '-', beginning with a letter or digit, at most 64"
        raise Invalid(f"token name {name[:80]!r} is not allowed", hint=f"use {rule}")
    token_id = secrets.token_hex(6)
    text = f"syncd_{token_id}_{secrets.token_urlsafe(32)}"
    hashed = _hash(text, is_limited=bool(limits))
    row = {"id": token_id, "name": name, "role": role, "hash": hashed, "created_by": who, "created_at": now}
    if not insert_new(conn, tokens, **row, limits=limits.as_json()):
        raise Conflict(f"a token named {name} exists already", hint=f"revoke it with: syncd token revoke {name}")
    detail = {"name": name, "role": role.value, "who": who, **limits.as_json()}
    events.append(conn, "token.created", now=now, subject=name, detail=detail)
    return Secret(text)


def is_token(text: str) -> bool:
    """Whether `text` has the form of a token: others need no look at the record."""
    return _TOKEN.fullmatch(text) is not None


def find(conn: sa.Connection, text: str) -> Token | None:
    """The token with this text; None if it is unknown or revoked. Compares in constant time.

    Its limits are for the caller to check.
    """
    match = _TOKEN.fullmatch(text)
    found = fetch_one(conn, Token, sa.select(tokens).where(tokens.c.id == (match[1] if match else "")))
    hashed = _hash(text, is_limited=bool(found and found.limits))
    same = hmac.compare_digest(hashed.hex, (found.hash if found else _NO_HASH).hex)
    return found if same else None


def revoke(conn: sa.Connection, name: str, who: str, now: datetime) -> None:
    """Revoke a token; the next request with it is refused.

    Raises:
        NotFound: No token has that name.
    """
    if not conn.execute(sa.delete(tokens).where(tokens.c.name == name)).rowcount:
        raise NotFound(f"no token is named {name[:80]!r}", hint="list them with: syncd token list")
    events.append(conn, "token.revoked", now=now, subject=name, detail={"name": name, "who": who})


def all(conn: sa.Connection) -> list[Token]:  # noqa: A001 -- read as `tokens.all`
    """All tokens, ordered by name."""
    return fetch_all(conn, Token, sa.select(tokens).order_by(tokens.c.name))


def ending(conn: sa.Connection, before: datetime) -> list[tuple[str, datetime]]:
    """The tokens that end before a time, or have ended: their names and when, the first one first."""
    found = [(token.name, TokenLimits.of_json(token.limits).ends_at) for token in all(conn)]
    return sorted(((name, at) for name, at in found if at is not None and at < before), key=lambda each: each[1])


def _hash(text: str, *, is_limited: bool) -> Digest:
    """One round is enough: 256 random bits cannot be guessed.

    That of a token with limits is another one, so that a syncd which knows no limits refuses it.
    """
    hashed = f"limited {text}" if is_limited else text
    return Digest(hashlib.sha256(hashed.encode("utf-8", "surrogatepass")).hexdigest())
