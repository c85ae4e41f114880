"""Request bodies and responses: size and time limits, JSON, and the common error shape."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any, Final

import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Match, Route

from syncd.api.limits.bodies import BodyBudget
from syncd.errors import (
    Cancelled,
    Conflict,
    Corrupt,
    Failed,
    Fenced,
    Held,
    Invalid,
    NotFound,
    Refused,
    SyncdError,
    Unavailable,
)

log = structlog.get_logger("syncd.api")

BODY_MAX_BYTES: Final = 1 << 20
PIECE_BYTES: Final = 8 << 10  # of a long answer to a caller who proves nothing
BODY_TIMEOUT_S: Final = 10.0  # 1 MiB in that time is less than a mobile phone's uplink


ALWAYS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class ProblemResponse(SyncdError):
    """An error response with `status`. `code` is for programs and never changes its meaning."""

    def __init__(
        self, status: int, code: str, message: str, *, hint: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code
        self.headers = dict(headers or {})


# The status of each error class; the first match applies. 502 and not 403 if a store, a registry or the database
# refuses *syncd*: the caller's own permissions are sufficient.
_STATUSES: Final[tuple[tuple[type[SyncdError], int, str], ...]] = (
    (Invalid, 400, "invalid"),
    (NotFound, 404, "not_found"),
    (Held, 409, "held"),
    (Conflict, 409, "conflict"),
    (Corrupt, 409, "corrupt"),
    (Failed, 409, "failed"),
    (Fenced, 503, "unavailable"),
    (Cancelled, 503, "unavailable"),
    (Refused, 502, "refused"),
    (Unavailable, 503, "unavailable"),
)
_QUERY: Final = re.compile(r"(https?://[^\s?\"']+)\?[^\s\"',;]+")
_HTTP_CODES: Final = {400: "invalid", 404: "not_found", 405: "method_not_allowed"}


def document(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response, for one reader and one moment. Times are ISO 8601 in UTC."""
    text = json.dumps(content, default=plain, separators=(",", ":"))
    return Response(text, status, headers={**ALWAYS, **(headers or {})}, media_type="application/json")


def long_document(text: bytes) -> Response:
    """A JSON response that is sent in pieces: one for a client that does not read holds the memory of a piece."""

    async def pieces() -> AsyncIterator[memoryview]:
        for start in range(0, len(text), PIECE_BYTES):
            yield memoryview(text)[start : start + PIECE_BYTES]

    headers = {**ALWAYS, "Content-Length": str(len(text))}
    return StreamingResponse(pieces(), headers=headers, media_type="application/json")


def plain(value: object) -> object:
    """A JSON value for a type that JSON does not have."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


def with_etag(request: Request, content: Mapping[str, Any], *, is_volatile: str) -> Response:
    """A JSON response with a weak ETag, or 304 if the caller has it. Keys named `is_volatile` do not count."""
    digest = hashlib.sha256(json.dumps(_without(content, is_volatile), default=plain).encode()).hexdigest()
    tag = f'W/"{digest[:32]}"'
    known = {each.strip() for each in request.headers.get("if-none-match", "").split(",")}
    if known & {tag, tag.removeprefix("W/"), "*"}:
        return Response(None, 304, headers={**ALWAYS, "ETag": tag})
    return document(content, headers={"ETag": tag})


def _without(content: object, key: str) -> object:
    if isinstance(content, Mapping):
        return {name: _without(each, key) for name, each in content.items() if name != key}
    return [_without(each, key) for each in content] if isinstance(content, list) else content


def problem(error: ProblemResponse) -> Response:
    """The response for an error: code, message, hint."""
    body = {"code": error.code, "message": error.message, "hint": error.hint}
    return document(body, error.status, error.headers)


def problem_of(error: SyncdError) -> ProblemResponse:
    """The error response for an exception of syncd."""
    if isinstance(error, ProblemResponse):
        return error
    if isinstance(error.__cause__, SQLAlchemyError):  # a full disk, a missing table: nothing that the caller can fix
        log.warning("record.unavailable", message="The record cannot be queried.", error=error.message,
                    hint=error.hint)  # fmt: skip
        retry = {"Retry-After": _seconds(error)}
        return ProblemResponse(
            503, "unavailable", "the record cannot be queried now", hint="see the daemon's log", headers=retry
        )
    status, code = next((status, code) for kind, status, code in _STATUSES if isinstance(error, kind))
    headers = {"Retry-After": _seconds(error)} if status == 503 else {}
    return ProblemResponse(status, code, error.message, hint=error.hint, headers=headers)


def on_syncd_error(request: Request, error: Exception) -> Response:
    """Handler of syncd's own exceptions. What only this machine's people may know is not in the answer."""
    assert isinstance(error, SyncdError)
    found = problem_of(error)
    private = request.app.state.server.site.private_paths
    message, hint = (without_private(text, private) for text in (found.message, found.hint))
    return problem(ProblemResponse(found.status, found.code, message, hint=hint, headers=found.headers))


def without_private(text: str, paths: Mapping[str, str]) -> str:
    """`text` with the names of `paths` instead of the paths, and without the query of any URL, which may be a token."""
    for path in sorted(paths, key=len, reverse=True):
        text = text.replace(path, paths[path])
    return _QUERY.sub(r"\1?…", text)


def on_http_error(request: Request, error: Exception) -> Response:
    """Handler of an unknown path or method."""
    assert isinstance(error, HTTPException)
    code = _HTTP_CODES.get(error.status_code, "invalid")
    hint = "GET /openapi.json lists every path and method"
    headers = {**(error.headers or {}), **({"Allow": _allowed(request)} if error.status_code == 405 else {})}
    return problem(ProblemResponse(error.status_code, code, error.detail, hint=hint, headers=headers))


def _allowed(request: Request) -> str:
    """Every method of the path: Starlette names those of one route."""
    routes = [each for each in request.app.routes if isinstance(each, Route)]
    found = [each.methods or () for each in routes if each.matches(request.scope)[0] is not Match.NONE]
    return ", ".join(sorted({method for methods in found for method in methods}))


def on_unexpected_error(_request: Request, _error: Exception) -> Response:
    """Handler of a bug in syncd. The trace is in the log and nowhere else."""
    hint = "the trace is in the daemon's log; report it"
    return problem(ProblemResponse(500, "bug", "a bug in syncd ended this request", hint=hint))


async def body_of(request: Request) -> bytes:
    """The raw body, read once.

    Raises:
        ProblemResponse: It is larger than BODY_MAX_BYTES (413), late (408), incomplete (400), or the largest of too
            many unfinished ones (503).
    """
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > BODY_MAX_BYTES:
        raise _too_large()
    address = request.client.host if request.client else ""
    timeout = asyncio.timeout(BODY_TIMEOUT_S)
    budget = request.app.state.server.bodies
    assert isinstance(budget, BodyBudget)
    try:
        async with timeout:
            with budget.body(address, timeout) as body:
                async for piece in request.stream():
                    body.add(piece)
                    del piece  # the trace of an error would keep it
                    if body.size_bytes > BODY_MAX_BYTES:
                        raise _too_large()
                    if body.is_dropped:
                        raise TimeoutError  # noqa: TRY301 -- as where it waits
                return body.whole()
    except TimeoutError as error:
        if body.is_dropped:
            close = {"Connection": "close", "Retry-After": "2"}
            raise ProblemResponse(503, "unavailable", "too many unfinished bodies", headers=close) from error
        message = f"the body did not arrive within {BODY_TIMEOUT_S:.0f} s"
        raise ProblemResponse(408, "timeout", message, headers={"Connection": "close"}) from error
    except ClientDisconnect as error:
        raise ProblemResponse(400, "invalid", "the connection closed before the end of the body") from error


async def json_of(request: Request) -> Mapping[str, Any]:
    """The body as a JSON object; an empty body is an empty object.

    Raises:
        Invalid: It is not a JSON object.
        ProblemResponse: As `body_of`.
    """
    body = await body_of(request)
    return object_of(body) if body.strip() else {}


def object_of(body: bytes) -> Mapping[str, Any]:
    """Parse a JSON object without duplicate keys. Raises Invalid for anything else."""
    try:
        found = json.loads(body, object_pairs_hook=_distinct, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        hint = 'send a JSON object with "Content-Type: application/json"'
        raise Invalid("expected a JSON object as the body, got something else", hint=hint) from error
    if not isinstance(found, dict):
        raise Invalid("expected a JSON object as the body, got another JSON value")
    return found


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse duplicate keys: programs disagree on whether the first or the last one counts."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _too_large() -> ProblemResponse:
    message = f"expected a body of at most {BODY_MAX_BYTES} bytes, got more"
    return ProblemResponse(413, "too_large", message, headers={"Connection": "close"})


def _seconds(error: SyncdError) -> str:
    asked = error.retry_after_s if isinstance(error, Unavailable) else None
    return str(max(1, round(asked or 1)))
