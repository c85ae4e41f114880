"""Shape of the position of a staged release. Apart from the other shapes, since `syncd status` needs only this one."""

from __future__ import annotations

from pydantic import Field

from syncd.reconcile.views.shapes.base import Document, Time


class RolloutDocument(Document):
    """The position of a staged release."""

    stage: int = Field(description="Counted from 1.")
    stages: int
    wave: int = Field(description="Counted from 1.")
    waves: int
    regions: list[str]
    percent: int = Field(description="The share of the new version in this stage.")
    until: Time | None = Field(description="The end of the pause.")
    out_since: Time | None = Field(description="Since when a region is unavailable.")
    good_answers: dict[str, int] = Field(description="Good answers in this stage, by binding.")
    good_answers_wanted: int
    says: str = Field(description="All of this as a sentence.")
