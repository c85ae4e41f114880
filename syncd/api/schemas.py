"""JSON schemas of requests and responses. A test validates every response against its schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Schema = Mapping[str, Any]


def ref(name: str) -> Schema:
    """A reference to the schema of that name in the document."""
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


TEXT: Final = {"type": "string"}
_TIME: Final = {"type": "string", "format": "date-time"}
NUMBER: Final = {"type": "integer"}
FLAG: Final = {"type": "boolean"}
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
    "release": TEXT,
    "model": TEXT,
    "version": TEXT,
    "rollback": FLAG,
    "phase": _PHASE,
    "created_at": _TIME,
    "updated_at": _TIME,
    "requested_by": TEXT,
    "reason": TEXT,
    "hint": TEXT,
}
_LIVE: Final[Mapping[str, Schema]] = {
    "model": TEXT,
    "version": _maybe("string"),
    "digest": _maybe("string"),
    "region": TEXT,
    "binding": TEXT,
    "function": TEXT,
    "alias": TEXT,
    "function_version": _maybe("string"),
    "since": _maybe("string"),
    "release": _maybe("string"),
}
_RELEASE: Final[Mapping[str, Schema]] = {
    **_LISTED,
    "digest": _maybe("string"),
    "targets": _list({"type": "object", "required": ["target", "phase", "bytes_total"]}),
    "bindings": _list(
        _object({"binding": TEXT, "phase": TEXT, "from": _maybe("string"), "to": _maybe("string")}, closed=True)
    ),
    "rollout": {**_maybe("object"), "description": "The position of a staged release; `says` is the sentence."},
    "left_behind": _list(TEXT),
    "stuck": _list({"type": "object", "required": ["step", "subject", "state", "failures", "reason"]}),
}
_FIRST_ANSWER: Final[Mapping[str, Schema]] = {
    "binding": TEXT,
    "region": TEXT,
    "target_kind": TEXT,
    "cold": FLAG,
    "answer_s": {"type": "number"},
    "inside_s": _maybe("number"),
    "load_s": _maybe("number"),
    "at": _TIME,
}
_EVENT: Final[Mapping[str, Schema]] = {
    "id": NUMBER,
    "at": _TIME,
    "kind": TEXT,
    "subject": TEXT,
    "step": _maybe("string"),
    "attempt": _maybe("integer"),
    "detail": {"type": "object"},
}
_DRIFTED: Final[Mapping[str, Schema]] = {
    **dict.fromkeys(("binding", "region", "function", "alias", "what", "got", "want", "hint"), TEXT),
    **dict.fromkeys(("good_at", "found_at", "seen_at"), _TIME),
    "restoring": _maybe("string"),
}
_WHY: Final = {**TEXT, "maxLength": 500}
_SAID: Final[Mapping[str, Schema]] = {"model": TEXT, "who": TEXT, "why": TEXT, "since": _TIME}
SCHEMAS: Final[Mapping[str, Schema]] = {
    "Error": _object({"code": TEXT, "message": TEXT, "hint": TEXT}, closed=True),
    "Health": _object({"status": {"const": "ok"}}, closed=True),
    "ListedRelease": _object(_LISTED, closed=True),
    "Releases": _object({"releases": _list(ref("ListedRelease"))}, closed=True),
    "Release": _object(_RELEASE, closed=True),
    "Story": _object(
        {
            **_RELEASE,
            "steps": _list({"type": "object"}),
            "first_answers": _list(_object(_FIRST_ANSWER, closed=True)),
            "events": _list(ref("Event")),
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
                        "model": TEXT,
                        "registry": _maybe("string"),
                        "live": _list(ref("Live")),
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
            "automatic_releases_off": TEXT,
            "live": _list(ref("Live")),
            "in_flight": _list({"type": "object"}),
            "held": _list(ref("Hold")),
            "frozen": _list(ref("Freeze")),
            "quarantined": _list(_object({"model": TEXT, "version": TEXT, "reason": TEXT}, closed=True)),
            "stalled": _list({"type": "object"}),
            "bases": _list({"type": "object"}),
            "drifted": _list({"type": "object"}),
        },
        closed=True,
    ),
    "Drift": _object(
        {
            "good": FLAG,
            "drifted": _list(_object(_DRIFTED, closed=True)),
            "looked_at": {"type": "object", "additionalProperties": _maybe("string")},
            "ended": _list({"type": "object", "required": ["binding", "what", "found_at", "closed_at", "closed"]}),
        },
        closed=True,
    ),
    "Publish": _object({"model": {**TEXT, "maxLength": 128}, "ref": {**TEXT, "maxLength": 96}}, closed=True),
    "Why": _object({"why": _WHY}, closed=True, optional=("why",)),
    "FreezeFor": _object(
        {"why": _WHY, "hours": {"type": "number", "minimum": 0, "maximum": 8784, "default": 0}},
        closed=True,
        optional=("why", "hours"),
    ),
    "Nothing": _object({}, closed=True),
    "Hold": _object(_SAID, closed=True),
    "Freeze": _object({**_SAID, "until": _maybe("string")}, closed=True),
    "Lifted": _object({"model": _maybe("string"), "lifted": FLAG}, closed=True),
    "Approval": _object({"release": TEXT, "digest": TEXT, "who": TEXT, "at": _TIME}, closed=True),
    "Delivery": _object({"accepted": NUMBER, "new": NUMBER}, closed=True),
}
