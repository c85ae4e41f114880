"""Shapes of request bodies. A key without a default is required; an unknown key is refused."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from syncd.artifact.names import MODEL_MAX, VERSION_MAX

NAME_MAX: Final = 256
WHY_MAX: Final = 500
HOURS_MAX: Final = 8784.0  # a year
MODEL_PATTERN: Final = "^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$"
VERSION_PATTERN: Final = "^[A-Za-z0-9][A-Za-z0-9._+-]*$"
LEASE_PATTERN: Final = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
RELEASE_PATTERN: Final = "^r-[0-9]{1,18}$"


def _printable(text: str) -> str:
    if text and not text.isprintable():
        raise ValueError("printable")
    return text


Why = Annotated[
    str, Field(max_length=WHY_MAX, description="The reason, kept with the event."), AfterValidator(_printable)
]


class RequestBody(BaseModel):
    """A request body: nothing is converted, and nothing is ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PublishRequest(RequestBody):
    """A version to release."""

    model: Annotated[
        str, Field(max_length=MODEL_MAX, json_schema_extra={"pattern": MODEL_PATTERN}), AfterValidator(_printable)
    ]
    ref: Annotated[
        str, Field(max_length=VERSION_MAX, json_schema_extra={"pattern": VERSION_PATTERN}), AfterValidator(_printable)
    ]


class PublishNameRequest(RequestBody):
    """A version to release, by a name that the server resolves."""

    name: Annotated[
        str,
        Field(max_length=NAME_MAX, description="As in `syncd publish`: sdxl@v2, sdxl-v2, or sdxl for the newest."),
        AfterValidator(_printable),
    ]


class ReasonRequest(RequestBody):
    """An optional reason."""

    why: Why = ""


class RollbackRequest(ReasonRequest):
    """The version to return to, and why."""

    to: Annotated[
        str,
        Field(max_length=VERSION_MAX, description="A version that was live; empty: the previous one."),
        AfterValidator(_printable),
    ] = ""


class FreezeRequest(ReasonRequest):
    """How long to freeze, and why."""

    hours: Annotated[float, Field(ge=0, le=HOURS_MAX, description="0: until it is lifted.")] = 0.0


class RepairRequest(RequestBody):
    """What to repair: every version that is placed, or one; at every target, or at one."""

    version: Annotated[str, Field(max_length=VERSION_MAX), AfterValidator(_printable)] = ""
    target: Annotated[str, Field(max_length=MODEL_MAX), AfterValidator(_printable)] = ""


class LeaseRequest(RequestBody):
    """The version that a reader uses, and for how long from now."""

    model: Annotated[
        str, Field(max_length=MODEL_MAX, json_schema_extra={"pattern": MODEL_PATTERN}), AfterValidator(_printable)
    ]
    version: Annotated[
        str, Field(max_length=VERSION_MAX, json_schema_extra={"pattern": VERSION_PATTERN}), AfterValidator(_printable)
    ]
    hours: Annotated[float, Field(ge=0.1, le=HOURS_MAX, description="Renew the lease before they are over.")]


class EmptyRequest(RequestBody):
    """Nothing: an empty object, or no body."""
