"""Shapes of advice: where a model should live in each region, and why."""

from __future__ import annotations

from pydantic import Field

from syncd.reconcile.views.shapes.base import Document


class AdviceReasonDocument(Document):
    """What one rule of the guidance says."""

    rule: str
    text: str
    source: str
    favours: list[str]
    against: list[str]
    excludes: list[str]


class RegionAdviceDocument(Document):
    """The kind of storage to use in one region, the kinds in use there, and every reason."""

    region: str
    advice: str
    now: list[str]
    functions: int
    peak_starts: int | None = Field(description="The most instances that may start at once; null if it is not known.")
    provisioned: bool | None
    nas_read_s: float = Field(description="How long they would take to read the version from one NAS.")
    cold_start_s: dict[str, float] = Field(description="Median of the recorded cold starts by kind of storage.")
    reasons: list[AdviceReasonDocument]


class AdviceDocument(Document):
    """Where a version should live."""

    model: str
    version: str
    size_bytes: int
    files: int
    changes_a_month: float | None
    regions: list[RegionAdviceDocument]
