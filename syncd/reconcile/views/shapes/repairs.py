"""Shapes of repairs of placements."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from syncd.reconcile.views.shapes.base import Document, Time


class RepairDocument(Document):
    """The newest repair of a version at a target."""

    model: str
    version: str
    target: str
    phase: Literal["repairing", "repaired", "whole", "failed"] = Field(description="`whole`: nothing was damaged.")
    requested_by: str
    requested_at: Time
    ended_at: Time | None
    reason: str
    hint: str
    failure: str = Field(description="The kind of error that ended it, or empty.")
    files: list[str]
    bytes: int
    seal: bool = Field(description="Whether the seal was written again.")
    images: list[str]
    sources: list[str] = Field(description="Where the bytes may have been read from, in this order.")


class RepairsDocument(Document):
    """Repairs, by version and target."""

    repairs: list[RepairDocument]
