"""OpenAPI 3.1 description of the API. A test checks every route, status and answer against it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from syncd.api.schemas import FLAG, NUMBER, SCHEMAS, TEXT, Schema, ref
from syncd.artifact.names import MODEL_MAX, VERSION_MAX
from syncd.reconcile.views.shapes.requests import MODEL_PATTERN, RELEASE_PATTERN, VERSION_PATTERN

_MEANINGS: Final = {
    "400": "The request is not valid.",
    "401": "The token or signature is missing or not valid.",
    "403": "The token's role is insufficient.",
    "404": "It does not exist.",
    "408": "The body did not arrive in time.",
    "409": "A conflict: a hold, a quarantine, or an idempotency key that was used for another request.",
    "413": "The body is larger than 1 MiB.",
    "429": "Too many at once; `Retry-After` says when to retry.",
    "502": "A registry or the database refuses syncd.",
    "503": "A dependency does not answer now; `Retry-After` says when to retry.",
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
        content = _EITHER if body == "PublishRequest" else _json(body)
        made["requestBody"] = {"required": body == "PublishRequest", "content": content}
    return made


_EITHER: Final = {"application/json": {"schema": {"oneOf": [ref("PublishRequest"), ref("PublishNameRequest")]}}}


def _in_path(name: str, about: str, schema: Schema) -> Schema:
    return {"name": name, "in": "path", "required": True, "description": about, "schema": schema}


def _in_query(name: str, schema: Schema, about: str) -> Schema:
    return {"name": name, "in": "query", "required": False, "description": about, "schema": schema}


def _in_header(name: str, schema: Schema, about: str) -> Schema:
    return {"name": name, "in": "header", "required": False, "description": about, "schema": schema}


def _operate(summary: str, answer: str, body: str, *parameters: Schema, status: str = "200") -> Schema:
    """A change that needs the role `operate`."""
    made = _operation(summary, answer, status=status, role="operate", errors=_WRITE, body=body, parameters=parameters)
    return {"post": made}


_RELEASE_ID: Final = _in_path("release", "The release's id, such as r-7.", {**TEXT, "pattern": RELEASE_PATTERN})
_MODEL: Final = {**TEXT, "pattern": MODEL_PATTERN, "maxLength": MODEL_MAX}
_MODEL_NAME: Final = _in_path("model", "The model's name; the slash after an owner needs no escape.", _MODEL)
_OF_MODEL: Final = _in_query("model", _MODEL, "This model only.")
_VERSION: Final = {**TEXT, "pattern": VERSION_PATTERN, "maxLength": VERSION_MAX}
_COUNT: Final = {**NUMBER, "minimum": 1, "maximum": 999_999}
_EVENT_ID: Final = {**TEXT, "pattern": "^[0-9]{1,18}$"}


def _conditional(*arguments: Any, **more: Any) -> Schema:
    """An operation whose answer has an ETag."""
    made = _operation(*arguments, **more)
    etag = {"ETag": {"description": "Changes with the answer, times of checks left out.", "schema": TEXT}}
    done = {**made["responses"]["200"], "headers": etag}
    unchanged = {"description": "The answer is the one with this `If-None-Match`."}
    return {**made, "responses": {**made["responses"], "200": done, "304": unchanged}}


_STREAM: Final = {
    **_operation(
        "Stream events as server-sent events; resume with Last-Event-ID.",
        "StreamedEvent",
        role="read",
        errors=(*_READ, "429"),
        parameters=(
            _in_header("Last-Event-ID", _EVENT_ID, "The last `id` that the client saw."),
            _in_query("after", _EVENT_ID, "As a parameter; 0 for all events."),
        ),
    )
}
_STREAM["responses"] = {
    **_STREAM["responses"],
    "200": {"description": "Events, until either side ends it.", "content": {"text/event-stream": {"schema": TEXT}}},
}

_METRICS: Final[dict[str, Any]] = {**_operation("Get metrics in the text format of Prometheus.", "Health", role="read")}
_METRICS["responses"] = {
    **_METRICS["responses"],
    "200": {"description": "Metrics.", "content": {"text/plain": {"schema": TEXT}}},
}

_OPENAPI: Final = {
    "type": "object",
    "description": "An OpenAPI 3.1 document.",
    "required": ["openapi", "info", "paths", "components"],
    "additionalProperties": {"type": ["string", "object", "array"]},
}

_PATHS: Final[Mapping[str, Schema]] = {
    "/healthz": {"get": _operation("Report whether the process is alive.", "Health", errors=("503",))},
    "/readyz": {"get": _operation("Report whether the process is ready for requests.", "Health", errors=("503",))},
    "/metrics": {"get": _METRICS},
    "/openapi.json": {
        "get": {
            "summary": "Get this document.",
            "security": [],
            "responses": {"200": {"description": "OpenAPI.", "content": {"application/json": {"schema": _OPENAPI}}}},
        }
    },
    "/v1/releases": {
        "get": _operation(
            "List releases, newest first.",
            "Releases",
            role="read",
            errors=(*_READ, "404"),
            parameters=(
                _OF_MODEL,
                _in_query("limit", {**NUMBER, "minimum": 1, "maximum": 200, "default": 20}, "How many at most."),
                _in_query(
                    "before",
                    {**TEXT, "pattern": RELEASE_PATTERN},
                    "Only releases older than this one: the `next` of the page before.",
                ),
            ),
        ),
        "post": _operation(
            "Request a release. If the version is in flight already, the answer is that release.",
            "ReleaseDetail",
            status="202",
            role="publish",
            errors=_WRITE,
            body="PublishRequest",
            parameters=(
                _in_header(
                    "Idempotency-Key",
                    {**TEXT, "pattern": "^[!-~]{1,128}$"},
                    "A repeated request with this key within two days gets the same release, also after it has ended.",
                ),
            ),
        ),
    },
    "/v1/releases/{release}": {
        "get": _operation(
            "Get the full history of a release.",
            "ReleaseHistory",
            role="read",
            errors=(*_READ, "404"),
            parameters=(_RELEASE_ID,),
        )
    },
    "/v1/releases/{release}/cancel": _operate(
        "Cancel a release before it moves any alias. Copied files stay.",
        "ReleaseDetail",
        "ReasonRequest",
        _RELEASE_ID,
        status="202",
    ),
    "/v1/releases/{release}/approve": _operate(
        "Approve a release that waits for a person, for its digest.",
        "Approval",
        "EmptyRequest",
        _RELEASE_ID,
    ),
    "/v1/releases/{release}/dismiss": _operate(
        "Take a release that stalled or was undone off the status. Its history stays.",
        "ListedRelease",
        "ReasonRequest",
        _RELEASE_ID,
    ),
    "/v1/releases/{release}/retry": _operate(
        "Make the waiting steps of a release due now.", "Retried", "EmptyRequest", _RELEASE_ID
    ),
    "/v1/retry": _operate("Make the waiting steps of all releases in flight due now.", "Retried", "EmptyRequest"),
    "/v1/models/{model}/versions": {
        "get": _operation(
            "List a model's versions, newest first: in its registry and in the record, sealed and live.",
            "ModelVersions",
            role="read",
            errors=(*_READ, "404"),
            parameters=(_MODEL_NAME,),
        )
    },
    "/v1/plan": {
        "get": _operation(
            "Get what a release would move and flip. Contacts every place; changes nothing.",
            "Plan",
            role="read",
            errors=(*_READ, "404", "409"),
            parameters=({**_in_query("name", TEXT, "As in POST /v1/releases: sdxl@v2."), "required": True},),
        )
    },
    "/v1/models": {"get": _operation("List the models that are served.", "Models", role="read")},
    "/v1/models/{model}/rollback": _operate(
        "Roll back to the previous live version in every binding, and hold the model there.",
        "ReleaseDetail",
        "RollbackRequest",
        _MODEL_NAME,
        status="202",
    ),
    "/v1/models/{model}/hold": _operate(
        "Hold a model: no automatic release. A held model keeps its first reason.", "Hold", "ReasonRequest", _MODEL_NAME
    ),
    "/v1/models/{model}/unhold": _operate(
        "Lift a hold. It succeeds if there is none.", "Lifted", "EmptyRequest", _MODEL_NAME
    ),
    "/v1/models/{model}/freeze": _operate(
        "Freeze a model: only rollbacks flip, until it is lifted or for some hours.",
        "Freeze",
        "FreezeRequest",
        _MODEL_NAME,
    ),
    "/v1/models/{model}/unfreeze": _operate(
        "Lift the freeze of one model. It succeeds if there is none.", "Lifted", "EmptyRequest", _MODEL_NAME
    ),
    "/v1/models/{model}/repair": _operate(
        "Repair deleted or damaged bytes of a version from a good copy. Aliases are not touched.",
        "Repairs",
        "RepairRequest",
        _MODEL_NAME,
        status="202",
    ),
    "/v1/models/{model}/repairs": {
        "get": _operation(
            "Get the newest repair of each placement of a model.",
            "Repairs",
            role="read",
            errors=(*_READ, "404"),
            parameters=(_MODEL_NAME,),
        )
    },
    "/v1/everything/freeze": _operate("Freeze all models: only rollbacks flip.", "Freeze", "FreezeRequest"),
    "/v1/everything/unfreeze": _operate("Lift the freeze of all models.", "Lifted", "EmptyRequest"),
    "/v1/health": {
        "get": _operation("Get the health of the daemon and of all that it works with.", "HealthReport", role="read")
    },
    "/v1/status": {
        "get": _conditional(
            "Get what is live in each region, what is in flight, and what is stuck and why.",
            "Status",
            role="read",
            errors=(*_READ, "404"),
            parameters=(
                _OF_MODEL,
                _in_header("If-None-Match", TEXT, "The `ETag` of an earlier answer."),
            ),
        )
    },
    "/v1/verification": {
        "get": _operation(
            "Get the results of the last `syncd verify` of each model. Contacts no region.",
            "LastVerification",
            role="read",
            errors=(*_READ, "404"),
            parameters=(_OF_MODEL,),
        )
    },
    "/v1/starts": {
        "get": _operation(
            "Get recorded cold starts by version, region and kind of storage.",
            "Starts",
            role="read",
            errors=(*_READ, "404"),
            parameters=(_OF_MODEL,),
        )
    },
    "/v1/advice": {
        "get": _operation(
            "Get where a model should live in each region, and why.",
            "Advice",
            role="read",
            errors=(*_READ, "404"),
            parameters=(
                {**_in_query("model", _MODEL, "The model."), "required": True},
                _in_query(
                    "version",
                    {**TEXT, "pattern": VERSION_PATTERN, "maxLength": VERSION_MAX},
                    "A version; default: the live one.",
                ),
                _in_query("starts", _COUNT, "Instances that start at once; default: by the functions' scaling."),
                _in_query("calls", _COUNT, "Calls at once, which instances share."),
                _in_query("reads_twice", FLAG, "Whether the application reads each file twice."),
                _in_query("multi_zone", FLAG, "Whether the functions must run in several zones."),
            ),
        )
    },
    "/v1/drift": {
        "get": _operation(
            "Get differences from the record, by the newest check of each binding. Contacts no region.",
            "Drift",
            role="read",
            errors=(*_READ, "404"),
            parameters=(
                _in_query("name", TEXT, "This binding or model only."),
                _in_query("ended", {**FLAG, "default": False}, "Include the newest that are closed."),
            ),
        )
    },
    "/v1/events": {"get": _STREAM},
    "/v1/refusals": {
        "get": _operation(
            "List the callers that were refused in the last hour, newest first.", "Refusals", role="operate"
        )
    },
    "/hooks/{hook}": {
        "post": {
            **_operation(
                "Receive a registry's delivery. It is authenticated, recorded, and used as a hint only.",
                "Delivery",
                status="202",
                errors=("400", "401", "408", "413", "429", "502", "503"),
                parameters=(
                    _in_path("hook", "The name of the webhook in the configuration.", {**TEXT, "minLength": 1}),
                ),
            ),
            "requestBody": {
                "required": True,
                "content": {"*/*": {"schema": {"description": "What the registry sends."}}},
            },
        }
    },
}

# Of every operation: its id, which names the method of a generated client, and its tag.
_NAMES: Final = {
    "get /healthz": ("getLiveness", "health"),
    "get /readyz": ("getReadiness", "health"),
    "get /metrics": ("getMetrics", "health"),
    "get /openapi.json": ("getOpenapi", "health"),
    "get /v1/releases": ("listReleases", "releases"),
    "post /v1/releases": ("publishRelease", "releases"),
    "get /v1/releases/{release}": ("getRelease", "releases"),
    "post /v1/releases/{release}/cancel": ("cancelRelease", "releases"),
    "post /v1/releases/{release}/approve": ("approveRelease", "releases"),
    "get /v1/models": ("listModels", "models"),
    "get /v1/models/{model}/versions": ("listVersions", "models"),
    "post /v1/models/{model}/rollback": ("rollbackModel", "models"),
    "post /v1/releases/{release}/dismiss": ("dismissRelease", "releases"),
    "post /v1/releases/{release}/retry": ("retryRelease", "releases"),
    "post /v1/retry": ("retryAll", "releases"),
    "get /v1/plan": ("planRelease", "releases"),
    "post /v1/models/{model}/hold": ("holdModel", "models"),
    "post /v1/models/{model}/unhold": ("unholdModel", "models"),
    "post /v1/models/{model}/freeze": ("freezeModel", "models"),
    "post /v1/models/{model}/unfreeze": ("unfreezeModel", "models"),
    "post /v1/models/{model}/repair": ("repairModel", "models"),
    "get /v1/models/{model}/repairs": ("listRepairs", "models"),
    "post /v1/everything/freeze": ("freezeEverything", "models"),
    "post /v1/everything/unfreeze": ("unfreezeEverything", "models"),
    "get /v1/health": ("getHealth", "status"),
    "get /v1/status": ("getStatus", "status"),
    "get /v1/verification": ("getVerification", "status"),
    "get /v1/starts": ("getStarts", "status"),
    "get /v1/advice": ("adviseModel", "status"),
    "get /v1/drift": ("getDrift", "status"),
    "get /v1/events": ("streamEvents", "status"),
    "get /v1/refusals": ("listRefusals", "status"),
    "post /hooks/{hook}": ("receiveDelivery", "hooks"),
}
_TAGS: Final = {
    "releases": "Requests for releases, and their history.",
    "models": "Models that are served: rollback, holds, freezes.",
    "status": "What is live, in flight, stuck and drifted; events.",
    "health": "Probes of the process, and this document. Without a token.",
    "hooks": "Deliveries of registries, authenticated by their own secrets.",
}


def _named(path: str, method: str, operation: Schema) -> Schema:
    name, tag = _NAMES[f"{method} {path}"]
    return {"operationId": name, "tags": [tag], **operation}


DOCUMENT: Final[Mapping[str, Any]] = {
    "openapi": "3.1.0",
    "info": {
        "title": "syncd",
        "version": "1",
        "description": "Releases of model versions. Every error has one shape: code, message, hint.",
    },
    "tags": [{"name": name, "description": about} for name, about in _TAGS.items()],
    "paths": {
        path: {method: _named(path, method, operation) for method, operation in item.items()}
        for path, item in _PATHS.items()
    },
    "components": {
        "schemas": SCHEMAS,
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    },
}
