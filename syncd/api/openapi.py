"""OpenAPI 3.1 description of the API. A test checks every route, status and answer against it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from syncd.api.operations import (
    COUNT,
    EVENT_ID,
    LEASE_NAME,
    MODEL,
    MODEL_NAME,
    OF_MODEL,
    READ,
    RELEASE_ID,
    WRITE,
    conditional,
    in_header,
    in_path,
    in_query,
    operate,
    operation,
)
from syncd.api.schemas import FLAG, NUMBER, SCHEMAS, TEXT, Schema
from syncd.artifact.names import VERSION_MAX
from syncd.reconcile.views.shapes.requests import RELEASE_PATTERN, VERSION_PATTERN

_STREAM: Final = {
    **operation(
        "Stream events as server-sent events; resume with Last-Event-ID.",
        "StreamedEvent",
        role="read",
        errors=READ,
        parameters=(
            in_header("Last-Event-ID", EVENT_ID, "The last `id` that the client saw."),
            in_query("after", EVENT_ID, "As a parameter; 0 for all events."),
        ),
    )
}
_STREAM["responses"] = {
    **_STREAM["responses"],
    "200": {"description": "Events, until either side ends it.", "content": {"text/event-stream": {"schema": TEXT}}},
}

_METRICS: Final[dict[str, Any]] = {**operation("Get metrics in the text format of Prometheus.", "Health", role="read")}
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
    "/healthz": {"get": operation("Report whether the process is alive.", "Health", errors=("503",))},
    "/readyz": {"get": operation("Report whether the process is ready for requests.", "Health", errors=("503",))},
    "/metrics": {"get": _METRICS},
    "/openapi.json": {
        "get": {
            "summary": "Get this document.",
            "security": [],
            "responses": {"200": {"description": "OpenAPI.", "content": {"application/json": {"schema": _OPENAPI}}}},
        }
    },
    "/v1/releases": {
        "get": operation(
            "List releases, newest first.",
            "Releases",
            role="read",
            errors=(*READ, "404"),
            parameters=(
                OF_MODEL,
                in_query("limit", {**NUMBER, "minimum": 1, "maximum": 200, "default": 20}, "How many at most."),
                in_query(
                    "before",
                    {**TEXT, "pattern": RELEASE_PATTERN},
                    "Only releases older than this one: the `next` of the page before.",
                ),
            ),
        ),
        "post": operation(
            "Request a release. If the version is in flight already, the answer is that release.",
            "ReleaseDetail",
            status="202",
            role="publish",
            errors=WRITE,
            body="PublishRequest",
            parameters=(
                in_header(
                    "Idempotency-Key",
                    {**TEXT, "pattern": "^[!-~]{1,128}$"},
                    "A repeated request with this key within two days gets the same release, also after it has ended.",
                ),
            ),
        ),
    },
    "/v1/releases/{release}": {
        "get": operation(
            "Get the full history of a release.",
            "ReleaseHistory",
            role="read",
            errors=(*READ, "404"),
            parameters=(RELEASE_ID,),
        )
    },
    "/v1/releases/{release}/cancel": operate(
        "Cancel a release before it moves any alias. Copied files stay.",
        "ReleaseDetail",
        "ReasonRequest",
        RELEASE_ID,
        status="202",
    ),
    "/v1/releases/{release}/approve": operate(
        "Approve a release that waits for a person, for its digest.",
        "Approval",
        "EmptyRequest",
        RELEASE_ID,
    ),
    "/v1/releases/{release}/dismiss": operate(
        "Take a release that stalled or was undone off the status. Its history stays.",
        "ListedRelease",
        "ReasonRequest",
        RELEASE_ID,
    ),
    "/v1/releases/{release}/retry": operate(
        "Make the waiting steps of a release due now.", "Retried", "EmptyRequest", RELEASE_ID
    ),
    "/v1/retry": operate("Make the waiting steps of all releases in flight due now.", "Retried", "EmptyRequest"),
    "/v1/models/{model}/versions": {
        "get": operation(
            "List a model's versions, newest first: in its registry and in the record, sealed and live.",
            "ModelVersions",
            role="read",
            errors=(*READ, "404"),
            parameters=(MODEL_NAME,),
        )
    },
    "/v1/plan": {
        "get": operation(
            "Get what a release would move and flip. Contacts every place; changes nothing.",
            "Plan",
            role="read",
            errors=(*READ, "404", "409"),
            parameters=({**in_query("name", TEXT, "As in POST /v1/releases: sdxl@v2."), "required": True},),
        )
    },
    "/v1/models": {"get": operation("List the models that are served.", "Models", role="read")},
    "/v1/models/{model}/rollback": operate(
        "Roll back to the previous live version in every binding, and hold the model there.",
        "ReleaseDetail",
        "RollbackRequest",
        MODEL_NAME,
        status="202",
    ),
    "/v1/models/{model}/hold": operate(
        "Hold a model: no automatic release. A held model keeps its first reason.", "Hold", "ReasonRequest", MODEL_NAME
    ),
    "/v1/models/{model}/unhold": operate(
        "Lift a hold. It succeeds if there is none.", "Lifted", "EmptyRequest", MODEL_NAME
    ),
    "/v1/models/{model}/freeze": operate(
        "Freeze a model: only rollbacks flip, until it is lifted or for some hours.",
        "Freeze",
        "FreezeRequest",
        MODEL_NAME,
    ),
    "/v1/models/{model}/unfreeze": operate(
        "Lift the freeze of one model. It succeeds if there is none.", "Lifted", "EmptyRequest", MODEL_NAME
    ),
    "/v1/models/{model}/repair": operate(
        "Repair deleted or damaged bytes of a version from a good copy. Aliases are not touched.",
        "Repairs",
        "RepairRequest",
        MODEL_NAME,
        status="202",
    ),
    "/v1/models/{model}/repairs": {
        "get": operation(
            "Get the newest repair of each placement of a model.",
            "Repairs",
            role="read",
            errors=(*READ, "404"),
            parameters=(MODEL_NAME,),
        )
    },
    "/v1/everything/freeze": operate("Freeze all models: only rollbacks flip.", "Freeze", "FreezeRequest"),
    "/v1/everything/unfreeze": operate("Lift the freeze of all models.", "Lifted", "EmptyRequest"),
    "/v1/leases": {"get": operation("List the leases in effect.", "Leases", role="read")},
    "/v1/leases/{lease}": {
        "put": operation(
            "Take a lease on a version, renew it, or move it to another version: until it ends, the version stays.",
            "Lease",
            role="publish",
            errors=WRITE,
            body="LeaseRequest",
            parameters=(LEASE_NAME,),
        ),
        "delete": operation(
            "End a lease. It succeeds if there is none.",
            "LeaseEnd",
            role="publish",
            errors=READ,
            parameters=(LEASE_NAME,),
        ),
    },
    "/v1/health": {
        "get": operation("Get the health of the daemon and of all that it works with.", "HealthReport", role="read")
    },
    "/v1/status": {
        "get": conditional(
            "Get what is live in each region, what is in flight, and what is stuck and why.",
            "Status",
            role="read",
            errors=(*READ, "404"),
            parameters=(
                OF_MODEL,
                in_header("If-None-Match", TEXT, "The `ETag` of an earlier answer."),
            ),
        )
    },
    "/v1/verification": {
        "get": operation(
            "Get the results of the last `syncd verify` of each model. Contacts no region.",
            "LastVerification",
            role="read",
            errors=(*READ, "404"),
            parameters=(OF_MODEL,),
        )
    },
    "/v1/starts": {
        "get": operation(
            "Get recorded cold starts by version, region and kind of storage.",
            "Starts",
            role="read",
            errors=(*READ, "404"),
            parameters=(OF_MODEL,),
        )
    },
    "/v1/version": {
        "get": operation(
            "Get a recorded version, with the medians of its first answers by region and kind of target.",
            "Version",
            role="read",
            errors=(*READ, "404"),
            parameters=({**in_query("name", TEXT, "The version: sdxl@v2."), "required": True},),
        )
    },
    "/v1/advice": {
        "get": operation(
            "Get where a model should live in each region, and why.",
            "Advice",
            role="read",
            errors=(*READ, "404"),
            parameters=(
                {**in_query("model", MODEL, "The model."), "required": True},
                in_query(
                    "version",
                    {**TEXT, "pattern": VERSION_PATTERN, "maxLength": VERSION_MAX},
                    "A version; default: the live one.",
                ),
                in_query("starts", COUNT, "Instances that start at once; default: by the functions' scaling."),
                in_query("calls", COUNT, "Calls at once, which instances share."),
                in_query("reads_twice", FLAG, "Whether the application reads each file twice."),
                in_query("multi_zone", FLAG, "Whether the functions must run in several zones."),
            ),
        )
    },
    "/v1/drift": {
        "get": operation(
            "Get differences from the record, by the newest check of each binding. Contacts no region.",
            "Drift",
            role="read",
            errors=(*READ, "404"),
            parameters=(
                in_query("name", TEXT, "This binding or model only."),
                in_query("ended", {**FLAG, "default": False}, "Include the newest that are closed."),
            ),
        )
    },
    "/v1/events": {"get": _STREAM},
    "/v1/refusals": {
        "get": operation(
            "List the callers that were refused in the last hour, newest first.", "Refusals", role="operate"
        )
    },
    "/hooks/{hook}": {
        "post": {
            **operation(
                "Receive a registry's delivery. It is authenticated, recorded, and used as a hint only.",
                "Delivery",
                status="202",
                errors=("400", "401", "408", "413", "429", "502", "503"),
                parameters=(
                    in_path("hook", "The name of the webhook in the configuration.", {**TEXT, "minLength": 1}),
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
    "get /v1/leases": ("listLeases", "models"),
    "put /v1/leases/{lease}": ("putLease", "models"),
    "delete /v1/leases/{lease}": ("endLease", "models"),
    "get /v1/health": ("getHealth", "status"),
    "get /v1/status": ("getStatus", "status"),
    "get /v1/verification": ("getVerification", "status"),
    "get /v1/starts": ("getStarts", "status"),
    "get /v1/version": ("getVersion", "models"),
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
