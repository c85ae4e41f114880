"""Shapes of first answers: of a release, and of a version in each region."""

from __future__ import annotations

from pydantic import Field

from syncd.reconcile.views.shapes.base import Document, Time


class FirstAnswerDocument(Document):
    """The first answer to a release's probe in one binding."""

    binding: str
    region: str
    target_kind: str
    cold: bool = Field(description="Whether it was a cold start.")
    answer_s: float
    inside_s: float | None = Field(description="Within the function, as the platform reports it.")
    load_s: float | None = Field(description="Loading of the model, as the answer reports it.")
    at: Time


class RegionAnswersDocument(Document):
    """Medians of first answers in one region, from one kind of target; null if there were none."""

    region: str
    target_kind: str
    cold_starts: int
    cold_answer_s: float | None
    cold_load_s: float | None
    others: int
    other_answer_s: float | None


class VersionDocument(Document):
    """A version and its first answers."""

    model: str
    version: str
    digest: str
    size_bytes: int
    first_answers: list[RegionAnswersDocument]
