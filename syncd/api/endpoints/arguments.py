"""Arguments of a request: from its query, its headers, or a body with a reason."""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request

from syncd.api.parsed_body import parsed
from syncd.artifact.names import ModelName, parse_model
from syncd.errors import Invalid
from syncd.reconcile.requests.operations import IdempotencyKey
from syncd.reconcile.views.shapes.requests import RELEASE_PATTERN, ReasonRequest

LIST_MAX: Final = 200
LIST_DEFAULT: Final = 20
_KEY: Final = re.compile(r"[\x21-\x7e]{1,128}")
_RELEASE: Final = re.compile(RELEASE_PATTERN)


def limit_of(request: Request) -> int:
    """How many releases a page has at most."""
    text = request.query_params.get("limit", str(LIST_DEFAULT))
    if not (text.isascii() and text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= LIST_MAX):
        raise Invalid(f"limit: expected a number from 1 to {LIST_MAX}")
    return int(text)


def count_of(request: Request, key: str) -> int | None:
    """The number of a query key. None: it is not given."""
    text = request.query_params.get(key)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 6 and int(text)):
        raise Invalid(f"{key}: expected a number from 1 to 999999")
    return int(text)


def flag_of(request: Request, key: str) -> bool:
    """Whether a query key is `true`."""
    text = request.query_params.get(key, "false")
    if text not in {"true", "false"}:
        raise Invalid(f"{key}: expected true or false")
    return text == "true"


def before_of(request: Request) -> int | None:
    """The release that a page ends before. None: the newest page."""
    text = request.query_params.get("before")
    if text is None:
        return None
    if not _RELEASE.fullmatch(text):
        raise Invalid("before: expected the id of a release", hint="send the `next` of the page before")
    return int(text.removeprefix("r-"))


def model_of(request: Request) -> ModelName | None:
    """The model that the query names. None: it names none."""
    text = request.query_params.get("model")
    return None if text is None else parse_model(text)


def once_of(request: Request, name: str) -> IdempotencyKey | None:
    """The idempotency key of a request by the caller `name`. None: the request has none."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise Invalid("Idempotency-Key: expected 1 to 128 printable characters without blanks")
    return IdempotencyKey(name, key)


async def why_of(request: Request) -> str:
    """The optional reason, in a body that has nothing else."""
    return (await parsed(request, ReasonRequest)).why
