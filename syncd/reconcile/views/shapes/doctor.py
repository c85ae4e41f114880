"""Shapes of `syncd doctor`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from syncd.reconcile.views.shapes.base import Document


class FindingOfDoctorDocument(Document):
    """One thing that is not as syncd needs it."""

    check: str
    where: str
    what: str
    cure: str = Field(description="What to do.")
    kind: Literal["wrong", "refused", "unavailable", "warning"]
    fixed: bool = Field(description="Whether `--fix` resolved it.")


class DoctorDocument(Document):
    """What `syncd doctor` found. `good`: nothing but warnings."""

    good: bool
    checks: int
    findings: list[FindingOfDoctorDocument]
