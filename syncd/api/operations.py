"""Operations of the OpenAPI description: how one is made, and the parameters that several have."""

from __future__ import annotations

from typing import Any, Final

from syncd.api.schemas import NUMBER, TEXT, Schema, ref
from syncd.artifact.names import MODEL_MAX
from syncd.reconcile.views.shapes.requests import LEASE_PATTERN, MODEL_PATTERN, RELEASE_PATTERN

_MEANINGS: Final = {
    "400": "The request is not valid.",
    "401": "The token or signature is missing or not valid.",
    "403": "The token's role is insufficient, or its limits exclude the model or the address.",
    "404": "It does not exist.",
    "408": "The body did not arrive in time.",
    "409": "A conflict: a hold, a quarantine, or an idempotency key that was used for another request.",
    "413": "The body is larger than 1 MiB.",
    "429": "Too many at once; `Retry-After` says when to retry.",
    "502": "A registry or the database refuses syncd.",
    "503": "A dependency does not answer now; `Retry-After` says when to retry.",
}
READ: Final = ("400", "401", "403", "429", "502", "503")
WRITE: Final = (*READ, "404", "408", "409", "413")


def _json(schema: str) -> Schema:
    return {"application/json": {"schema": ref(schema)}}


def operation(  # noqa: PLR0913 -- one argument a part of the description
    summary: str,
    answer: str,
    *,
    status: str = "200",
    errors: tuple[str, ...] = READ,
    role: str = "",
    body: str = "",
    parameters: tuple[Schema, ...] = (),
) -> Schema:
    """An operation of the description: without `role` it needs no token."""
    failures = {code: {"description": _MEANINGS[code], "content": _json("Error")} for code in sorted(errors)}
    made: dict[str, Any] = {
        "summary": summary,
        "responses": {status: {"description": "Done.", "content": _json(answer)}, **failures},
        "security": [{"token": []}] if role else [],
    }
    if role:
        made["description"] = f"Needs a token with the role `{role}` or more."
    if parameters:
        made["parameters"] = list(parameters)
    if body:
        content = _EITHER if body == "PublishRequest" else _json(body)
        made["requestBody"] = {"required": body in {"PublishRequest", "LeaseRequest"}, "content": content}
    return made


_EITHER: Final = {"application/json": {"schema": {"oneOf": [ref("PublishRequest"), ref("PublishNameRequest")]}}}


def in_path(name: str, about: str, schema: Schema) -> Schema:
    """A parameter in the path."""
    return {"name": name, "in": "path", "required": True, "description": about, "schema": schema}


def in_query(name: str, schema: Schema, about: str) -> Schema:
    """An optional parameter in the query."""
    return {"name": name, "in": "query", "required": False, "description": about, "schema": schema}


def in_header(name: str, schema: Schema, about: str) -> Schema:
    """An optional header."""
    return {"name": name, "in": "header", "required": False, "description": about, "schema": schema}


def operate(summary: str, answer: str, body: str, *parameters: Schema, status: str = "200") -> Schema:
    """A change that needs the role `operate`."""
    made = operation(summary, answer, status=status, role="operate", errors=WRITE, body=body, parameters=parameters)
    return {"post": made}


RELEASE_ID: Final = in_path("release", "The release's id, such as r-7.", {**TEXT, "pattern": RELEASE_PATTERN})
LEASE_NAME: Final = in_path("lease", "A name of the reader's own.", {**TEXT, "pattern": LEASE_PATTERN})
MODEL: Final = {**TEXT, "pattern": MODEL_PATTERN, "maxLength": MODEL_MAX}
MODEL_NAME: Final = in_path("model", "The model's name; the slash after an owner needs no escape.", MODEL)
OF_MODEL: Final = in_query("model", MODEL, "This model only.")
COUNT: Final = {**NUMBER, "minimum": 1, "maximum": 999_999}
EVENT_ID: Final = {**TEXT, "pattern": "^[0-9]{1,18}$"}


def conditional(*arguments: Any, **more: Any) -> Schema:
    """An operation whose answer has an ETag."""
    made = operation(*arguments, **more)
    etag = {"ETag": {"description": "Changes with the answer, times of checks left out.", "schema": TEXT}}
    done = {**made["responses"]["200"], "headers": etag}
    unchanged = {"description": "The answer is the one with this `If-None-Match`."}
    return {**made, "responses": {**made["responses"], "200": done, "304": unchanged}}
