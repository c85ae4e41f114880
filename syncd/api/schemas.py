"""JSON schemas of requests and responses, from their shapes. A test validates every response against its schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from syncd.reconcile.views.shapes.advice import AdviceDocument
from syncd.reconcile.views.shapes.first_answers import VersionDocument
from syncd.reconcile.views.shapes.overview import DriftDocument, ModelsDocument, ModelVersionsDocument, StatusDocument
from syncd.reconcile.views.shapes.plans import LastVerificationDocument, PlanDocument
from syncd.reconcile.views.shapes.releases import (
    ListedReleaseDocument,
    ReleaseDetailDocument,
    ReleaseHistoryDocument,
    ReleasesDocument,
    RetriedDocument,
    StreamedEventDocument,
)
from syncd.reconcile.views.shapes.repairs import RepairsDocument
from syncd.reconcile.views.shapes.requests import (
    EmptyRequest,
    FreezeRequest,
    LeaseRequest,
    PublishNameRequest,
    PublishRequest,
    ReasonRequest,
    RepairRequest,
    RollbackRequest,
)
from syncd.reconcile.views.shapes.serving import (
    ApprovalDocument,
    DeliveryDocument,
    ErrorDocument,
    FreezeDocument,
    HealthDocument,
    HealthReportDocument,
    HoldDocument,
    LeaseDocument,
    LeaseEndDocument,
    LeasesDocument,
    LiftedDocument,
    RefusalsDocument,
)
from syncd.reconcile.views.shapes.starts import StartsDocument

Schema = Mapping[str, Any]
TEXT: Final = {"type": "string"}
NUMBER: Final = {"type": "integer"}
FLAG: Final = {"type": "boolean"}
_PLACE: Final = "#/components/schemas/"

ANSWERS: Final[tuple[type[BaseModel], ...]] = (
    ErrorDocument,
    HealthDocument,
    ReleasesDocument,
    ReleaseDetailDocument,
    ReleaseHistoryDocument,
    StreamedEventDocument,
    ListedReleaseDocument,
    RetriedDocument,
    ModelsDocument,
    ModelVersionsDocument,
    StatusDocument,
    PlanDocument,
    DriftDocument,
    AdviceDocument,
    StartsDocument,
    VersionDocument,
    HoldDocument,
    FreezeDocument,
    LiftedDocument,
    LeaseDocument,
    LeasesDocument,
    LeaseEndDocument,
    ApprovalDocument,
    DeliveryDocument,
    RepairsDocument,
    RefusalsDocument,
    HealthReportDocument,
    LastVerificationDocument,
)
BODIES: Final[tuple[type[BaseModel], ...]] = (
    PublishRequest,
    PublishNameRequest,
    ReasonRequest,
    RollbackRequest,
    FreezeRequest,
    RepairRequest,
    LeaseRequest,
    EmptyRequest,
)


class _Untitled(GenerateJsonSchema):
    """Schemas without titles: a key's title would be the key again."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False


def ref(name: str) -> Schema:
    """A reference to the schema of that name in the document."""
    return {"$ref": f"{_PLACE}{name}"}


def public_name(shape: str) -> str:
    """The name in OpenAPI of a shape: that of its class without the suffix."""
    return shape.removesuffix("Document")


def _schemas() -> Schema:
    shapes: list[tuple[type[BaseModel], JsonSchemaMode]] = [(each, "serialization") for each in ANSWERS]
    shapes += [(each, "validation") for each in BODIES]
    _, made = models_json_schema(shapes, ref_template=f"{_PLACE}{{model}}", schema_generator=_Untitled)
    return {public_name(name): _renamed(schema) for name, schema in sorted(made["$defs"].items())}


def _renamed(schema: Any) -> Any:
    """A copy without titles, whose references have the public names."""
    if isinstance(schema, list):
        return [_renamed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: f"{_PLACE}{public_name(value.removeprefix(_PLACE))}" if key == "$ref" else _renamed(value)
        for key, value in schema.items()
        if key != "title" or not isinstance(value, str)
    }


SCHEMAS: Final[Schema] = _schemas()
