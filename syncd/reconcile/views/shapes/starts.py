"""Shapes of recorded starts: by version, region and kind of storage."""

from __future__ import annotations

from pydantic import Field

from syncd.reconcile.views.shapes.base import Document


class VersionStartsDocument(Document):
    """Recorded first answers of a version in one region, from one kind of storage; null without a cold start."""

    model: str
    version: str
    region: str
    target_kind: str
    size_bytes: int
    cold_starts: int
    others: int = Field(description="Answers of instances that were kept ready or had run before.")
    median_s: float | None
    p95_s: float | None = Field(description="What 95 of 100 do not exceed; of fewer than 20 the longest.")
    stages_s: dict[str, float] = Field(description="The median of each stage that the probes could see.")
    than_before: float | None = Field(description="The median, divided by that of the version before.")


class StartsDocument(Document):
    """Recorded starts, the newest version of each model first."""

    starts: list[VersionStartsDocument]
