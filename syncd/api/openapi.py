"""The API described in OpenAPI 3.1, written by hand; a test holds every route, status and answer against it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from syncd.api.schemas import FLAG, NUMBER, SCHEMAS, TEXT, Schema, ref

_MEANINGS: Final = {
    "400": "The request cannot be right.",
    "401": "No valid token, or no valid signature.",
    "403": "The token's role is not enough.",
    "404": "There is no such thing.",
    "408": "The body did not arrive in time.",
    "409": "Something is in the way: a hold, a quarantine, a key that was used for something else.",
    "413": "The body is larger than 1 MiB.",
    "429": "Too many at once; `Retry-After` says when.",
    "502": "A registry or the database refuses us.",
    "503": "Something does not answer now; `Retry-After` says when.",
}
_READ: Final = ("400", "401", "403", "502", "503")
_WRITE: Final = (*_READ, "404", "408", "409", "413")


def _json(schema: str) -> Schema:
    return {"application/json": {"schema": ref(schema)}}


def _operation(  # noqa: PLR0913 -- one argument a part of the description
    summary: str,
    answer: str,
    *,
    status: str = "200",
    errors: tuple[str, ...] = _READ,
    role: str = "",
    body: str = "",
    parameters: tuple[Schema, ...] = (),
) -> Schema:
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
        made["requestBody"] = {"required": body == "Publish", "content": _json(body)}
    return made


def _in_path(name: str, about: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "description": about, "schema": {**TEXT, "minLength": 1}}


def _in_query(name: str, schema: Schema, about: str) -> Schema:
    return {"name": name, "in": "query", "required": False, "description": about, "schema": schema}


def _in_header(name: str, schema: Schema, about: str) -> Schema:
    return {"name": name, "in": "header", "required": False, "description": about, "schema": schema}


def _operate(summary: str, answer: str, body: str, *parameters: Schema, status: str = "200") -> Schema:
    """A change that needs the role `operate`."""
    made = _operation(summary, answer, status=status, role="operate", errors=_WRITE, body=body, parameters=parameters)
    return {"post": made}


_RELEASE_ID: Final = _in_path("release", "Its id, such as r-7.")
_MODEL_NAME: Final = _in_path("model", "The model's name; an owner's slash may stand as it is.")
_OF_MODEL: Final = _in_query("model", TEXT, "Of this model only.")
_STREAM: Final = {
    **_operation(
        "What happens, as it happens: server-sent events, resumed with Last-Event-ID.",
        "Event",
        role="read",
        errors=(*_READ, "429"),
        parameters=(
            _in_header("Last-Event-ID", {**TEXT, "pattern": "^[0-9]{1,18}$"}, "The last `id` that was seen."),
            _in_query("after", {**TEXT, "pattern": "^[0-9]{1,18}$"}, "The same; 0 for everything there is."),
        ),
    )
}
_STREAM["responses"] = {
    **_STREAM["responses"],
    "200": {"description": "Until either side ends it.", "content": {"text/event-stream": {"schema": TEXT}}},
}

_PATHS: Final[Mapping[str, Schema]] = {
    "/healthz": {"get": _operation("Whether the process is alive.", "Health", errors=("503",))},
    "/readyz": {"get": _operation("Whether it can be asked.", "Health", errors=("503",))},
    "/openapi.json": {
        "get": {
            "summary": "This document.",
            "security": [],
            "responses": {
                "200": {"description": "OpenAPI.", "content": {"application/json": {"schema": {"type": "object"}}}}
            },
        }
    },
    "/v1/releases": {
        "get": _operation(
            "Releases, newest first.",
            "Releases",
            role="read",
            errors=(*_READ, "404"),
            parameters=(
                _OF_MODEL,
                _in_query("limit", {**NUMBER, "minimum": 1, "maximum": 200, "default": 20}, "How many."),
            ),
        ),
        "post": _operation(
            "Ask for a release. What is under way already is answered with that release.",
            "Release",
            status="202",
            role="publish",
            errors=_WRITE,
            body="Publish",
            parameters=(
                _in_header(
                    "Idempotency-Key",
                    {**TEXT, "pattern": "^[!-~]{1,128}$"},
                    "Asking again with it, within two days, answers with the same release, also when it has ended.",
                ),
            ),
        ),
    },
    "/v1/releases/{release}": {
        "get": _operation(
            "A release's whole story.",
            "Story",
            role="read",
            errors=(*_READ, "404"),
            parameters=(_RELEASE_ID,),
        )
    },
    "/v1/releases/{release}/cancel": _operate(
        "End a release before it moves any alias. What it has copied stays.",
        "Release",
        "Why",
        _RELEASE_ID,
        status="202",
    ),
    "/v1/releases/{release}/approve": _operate(
        "Let a release flip that waits for a person, for the bytes that it is about.",
        "Approval",
        "Nothing",
        _RELEASE_ID,
    ),
    "/v1/models": {"get": _operation("Every model that is served.", "Models", role="read")},
    "/v1/models/{model}/rollback": _operate(
        "Go back to the version that was live before, everywhere, and hold the model there.",
        "Release",
        "Why",
        _MODEL_NAME,
        status="202",
    ),
    "/v1/models/{model}/hold": _operate(
        "Keep automation away from a model. What is held keeps its first reason.", "Hold", "Why", _MODEL_NAME
    ),
    "/v1/models/{model}/unhold": _operate(
        "Lift a hold. Lifting what is not held is success.", "Lifted", "Nothing", _MODEL_NAME
    ),
    "/v1/models/{model}/freeze": _operate(
        "Flip nothing of a model, but rollbacks; until it is lifted, or for some hours.",
        "Freeze",
        "FreezeFor",
        _MODEL_NAME,
    ),
    "/v1/models/{model}/unfreeze": _operate(
        "Lift a freeze of one model. Lifting what is not frozen is success.", "Lifted", "Nothing", _MODEL_NAME
    ),
    "/v1/everything/freeze": _operate("Flip nothing of any model, but rollbacks.", "Freeze", "FreezeFor"),
    "/v1/everything/unfreeze": _operate("Lift the freeze of all models.", "Lifted", "Nothing"),
    "/v1/status": {
        "get": _operation(
            "What is live where, what is in flight, what is stuck and why.",
            "Status",
            role="read",
            errors=(*_READ, "404"),
            parameters=(_OF_MODEL,),
        )
    },
    "/v1/drift": {
        "get": _operation(
            "What is not as recorded, by the newest look at each binding. No region is asked.",
            "Drift",
            role="read",
            errors=(*_READ, "404"),
            parameters=(
                _in_query("name", TEXT, "Of this binding or model only."),
                _in_query("ended", {**FLAG, "default": False}, "The newest that are over, too."),
            ),
        )
    },
    "/v1/events": {"get": _STREAM},
    "/hooks/{hook}": {
        "post": {
            **_operation(
                "A registry's delivery. Proven by its own signature or secret, recorded, and only a hint.",
                "Delivery",
                status="202",
                errors=("400", "401", "404", "408", "413", "429", "502", "503"),
                parameters=(_in_path("hook", "The name of the webhook in the configuration."),),
            ),
            "requestBody": {"required": True, "content": {"*/*": {"schema": {}}}},
        }
    },
}

DOCUMENT: Final[Mapping[str, Any]] = {
    "openapi": "3.1.0",
    "info": {
        "title": "syncd",
        "version": "1",
        "description": "Releases of model versions. Every error has one shape: code, message, hint.",
    },
    "paths": _PATHS,
    "components": {
        "schemas": SCHEMAS,
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    },
}
