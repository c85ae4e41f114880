"""Request bodies, parsed by their shapes. A wrong one is refused with its first mistake: the key, expected, got."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import Request

from syncd.api.responses import json_of
from syncd.errors import Invalid
from syncd.reconcile.views.shapes.requests import RequestBody

T = TypeVar("T", bound=RequestBody)
_SHOWN_MAX: Final = 80


async def parsed(request: Request, shape: type[T]) -> T:
    """The body of a request as `shape`.

    Raises:
        Invalid: It is not a JSON object of this shape.
        ProblemResponse: As `body_of`.
    """
    return parse(shape, await json_of(request))


def parse(shape: type[T], found: Mapping[str, Any]) -> T:
    """Raises Invalid: a key is missing, unknown, or has a wrong value."""
    try:
        return shape.model_validate(found)
    except ValidationError as error:
        raise _invalid(shape, error.errors(include_url=False)[0]) from error


def _invalid(shape: type[RequestBody], detail: ErrorDetails) -> Invalid:
    key = str(detail["loc"][0])
    if detail["type"] == "extra_forbidden":
        known = ", ".join(shape.model_fields) or "none"
        return Invalid(f"the body has an unknown key {ascii(key)[:_SHOWN_MAX]}", hint=f"known keys: {known}")
    expected = _expected(shape.model_json_schema()["properties"][key])
    got = "nothing" if detail["type"] == "missing" else _shown(detail["input"])
    return Invalid(f'"{key}": expected {expected}, got {got}')


def _expected(schema: Mapping[str, Any]) -> str:
    if schema["type"] == "number":
        return f"a number from {schema['minimum']:g} to {schema['maximum']:g}"
    return f"text of at most {schema['maxLength']} printable characters"


def _shown(value: object) -> str:
    shown = ascii(value)
    return shown if len(shown) <= _SHOWN_MAX else f"{shown[:_SHOWN_MAX]}…"
