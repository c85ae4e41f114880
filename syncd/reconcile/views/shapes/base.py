"""Base of all shapes: closed, frozen pydantic models, and how they become JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, WithJsonSchema

Time = Annotated[AwareDatetime, WithJsonSchema({"type": "string", "format": "date-time"})]
"""A moment in UTC; as JSON, ISO 8601."""

_ANY_JSON: Final = {
    "type": ["string", "number", "boolean", "null", "array", "object"],
    "description": "Any JSON.",
}
Detail = Annotated[
    dict[str, Any],
    WithJsonSchema({"type": "object", "additionalProperties": _ANY_JSON}),
]
"""A JSON object whose keys depend on the kind of event."""


class Document(BaseModel):
    """A shape. A key without a default is always there; one with a default is left out where it was not given.

    Keys are added with a default, so that a client of the next version understands a server of this one.
    Subclasses are named XDocument; X is the name in OpenAPI.
    """

    # The order of the fields is the order of the keys. A model is built when it is first used: a command uses a few.
    model_config = ConfigDict(
        extra="forbid", frozen=True, from_attributes=True, populate_by_name=True, defer_build=True
    )

    def as_json(self) -> dict[str, Any]:
        """The JSON object. Times are still datetimes, written as ISO 8601 with the text."""
        return self.model_dump(exclude_unset=True, by_alias=True)


def known(shape: type[Document], found: Mapping[str, object]) -> dict[str, Any]:
    """The entries of `found` that a shape has: rows of another version of syncd may have others."""
    return {key: value for key, value in found.items() if key in shape.model_fields}
