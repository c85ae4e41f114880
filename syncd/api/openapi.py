"""The API described in OpenAPI 3.1, written by hand; a test holds every route, status and answer against it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Schema = Mapping[str, Any]


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: Mapping[str, Schema], *, closed: bool = False, optional: tuple[str, ...] = ()) -> Schema:
    wanted = [name for name in properties if name not in optional]
    return {
        "type": "object",
        "properties": dict(properties),
        "required": wanted,
        **({"additionalProperties": False} if closed else {}),
    }


def _list(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def _maybe(kind: str) -> Schema:
    return {"type": [kind, "null"]}


_TEXT: Final = {"type": "string"}
_TIME: Final = {"type": "string", "format": "date-time"}
_NUMBER: Final = {"type": "integer"}
_FLAG: Final = {"type": "boolean"}
_PHASE: Final = {
    "type": "string",
    "enum": [
        "requested",
        "placing",
        "staging",
        "flipping",
        "live",
        "undoing",
        "undone",
        "stalled",
        "superseded",
        "cancelled",
    ],
}

_LISTED: Final[Mapping[str, Schema]] = {
    "release": _TEXT,
    "model": _TEXT,
    "version": _TEXT,
    "rollback": _FLAG,
    "phase": _PHASE,
    "created_at": _TIME,
    "updated_at": _TIME,
    "requested_by": _TEXT,
    "reason": _TEXT,
    "hint": _TEXT,
}
_LIVE: Final[Mapping[str, Schema]] = {
    "model": _TEXT,
    "version": _maybe("string"),
    "digest": _maybe("string"),
    "region": _TEXT,
    "binding": _TEXT,
    "function": _TEXT,
    "alias": _TEXT,
    "function_version": _maybe("string"),
    "since": _maybe("string"),
    "release": _maybe("string"),
}
_RELEASE: Final[Mapping[str, Schema]] = {
    **_LISTED,
    "digest": _maybe("string"),
    "targets": _list({"type": "object", "required": ["target", "phase", "bytes_total"]}),
    "bindings": _list(
        _object({"binding": _TEXT, "phase": _TEXT, "from": _maybe("string"), "to": _maybe("string")}, closed=True)
    ),
    "rollout": {**_maybe("object"), "description": "Where it is, if it moves in steps; `says` puts it into words."},
    "left_behind": _list(_TEXT),
    "stuck": _list({"type": "object", "required": ["step", "subject", "state", "failures", "reason"]}),
}
_FIRST_ANSWER: Final[Mapping[str, Schema]] = {
    "binding": _TEXT,
    "region": _TEXT,
    "target_kind": _TEXT,
    "cold": _FLAG,
    "answer_s": {"type": "number"},
    "inside_s": _maybe("number"),
    "load_s": _maybe("number"),
    "at": _TIME,
}
_EVENT: Final[Mapping[str, Schema]] = {
    "id": _NUMBER,
    "at": _TIME,
    "kind": _TEXT,
    "subject": _TEXT,
    "step": _maybe("string"),
    "attempt": _maybe("integer"),
    "detail": {"type": "object"},
}
_WHY: Final = {**_TEXT, "maxLength": 500}
_SAID: Final[Mapping[str, Schema]] = {"model": _TEXT, "who": _TEXT, "why": _TEXT, "since": _TIME}
_SCHEMAS: Final[Mapping[str, Schema]] = {
    "Error": _object({"code": _TEXT, "message": _TEXT, "hint": _TEXT}, closed=True),
    "Health": _object({"status": {"const": "ok"}}, closed=True),
    "ListedRelease": _object(_LISTED, closed=True),
    "Releases": _object({"releases": _list(_ref("ListedRelease"))}, closed=True),
    "Release": _object(_RELEASE, closed=True),
    "Story": _object(
        {
            **_RELEASE,
            "steps": _list({"type": "object"}),
            "first_answers": _list(_object(_FIRST_ANSWER, closed=True)),
            "events": _list(_ref("Event")),
        },
        closed=True,
    ),
    "Event": _object(_EVENT, closed=True),
    "Live": _object(_LIVE, closed=True),
    "Models": _object(
        {
            "models": _list(
                _object(
                    {
                        "model": _TEXT,
                        "registry": _maybe("string"),
                        "live": _list(_ref("Live")),
                        "held": _maybe("string"),
                        "latest_release": _maybe("string"),
                    },
                    closed=True,
                )
            )
        },
        closed=True,
    ),
    "Status": _object(
        {
            "daemon": {"type": ["object", "null"]},
            "live": _list(_ref("Live")),
            "in_flight": _list({"type": "object"}),
            "held": _list(_ref("Hold")),
            "frozen": _list(_ref("Freeze")),
            "quarantined": _list(_object({"model": _TEXT, "version": _TEXT, "reason": _TEXT}, closed=True)),
            "stalled": _list({"type": "object"}),
            "drifted": _list({"type": "object"}),
        },
        closed=True,
    ),
    "Publish": _object({"model": {**_TEXT, "maxLength": 128}, "ref": {**_TEXT, "maxLength": 96}}, closed=True),
    "Why": _object({"why": _WHY}, closed=True, optional=("why",)),
    "FreezeFor": _object(
        {"why": _WHY, "hours": {"type": "number", "minimum": 0, "maximum": 8784, "default": 0}},
        closed=True,
        optional=("why", "hours"),
    ),
    "Nothing": _object({}, closed=True),
    "Hold": _object(_SAID, closed=True),
    "Freeze": _object({**_SAID, "until": _maybe("string")}, closed=True),
    "Lifted": _object({"model": _maybe("string"), "lifted": _FLAG}, closed=True),
    "Approval": _object({"release": _TEXT, "digest": _TEXT, "who": _TEXT, "at": _TIME}, closed=True),
    "Delivery": _object({"accepted": _NUMBER, "new": _NUMBER}, closed=True),
}

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
    return {"application/json": {"schema": _ref(schema)}}


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
    return {"name": name, "in": "path", "required": True, "description": about, "schema": {**_TEXT, "minLength": 1}}


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
_OF_MODEL: Final = _in_query("model", _TEXT, "Of this model only.")
_STREAM: Final = {
    **_operation(
        "What happens, as it happens: server-sent events, resumed with Last-Event-ID.",
        "Event",
        role="read",
        errors=(*_READ, "429"),
        parameters=(
            _in_header("Last-Event-ID", {**_TEXT, "pattern": "^[0-9]{1,18}$"}, "The last `id` that was seen."),
            _in_query("after", {**_TEXT, "pattern": "^[0-9]{1,18}$"}, "The same; 0 for everything there is."),
        ),
    )
}
_STREAM["responses"] = {
    **_STREAM["responses"],
    "200": {"description": "Until either side ends it.", "content": {"text/event-stream": {"schema": _TEXT}}},
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
                _in_query("limit", {**_NUMBER, "minimum": 1, "maximum": 200, "default": 20}, "How many."),
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
                    {**_TEXT, "pattern": "^[!-~]{1,128}$"},
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
        "schemas": _SCHEMAS,
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    },
}
