"""Shapes of what commands beside the record report: plans and verification."""

from __future__ import annotations

from pydantic import Field

from syncd.reconcile.views.shapes.base import Document, Time
from syncd.reconcile.views.shapes.releases import BaseUpdateDocument


class SeenBaseUpdateDocument(BaseUpdateDocument):
    """A base image that has changed, and since when."""

    seen_at: Time


class PlannedTargetDocument(Document):
    """What one target needs. See `TargetPlan` for the counters."""

    target: str
    region: str
    sealed: bool
    send_bytes: int
    copied_bytes: int
    kept_bytes: int
    send_files: int
    replicated_from: str | None
    image: str | None
    base: SeenBaseUpdateDocument | None
    seconds: float | None = Field(None, description="How long sending takes, by measured rates and limits.")
    measured_bytes_s: float | None = Field(None, description="The median rate of the newest copies to the target.")
    monthly: dict[str, str] | None = Field(None, description="What the bytes cost a month there, by currency.")
    once: dict[str, str] | None = Field(None, description="What bringing them costs once, by currency.")


class PlannedFlipDocument(Document):
    """A flip of one alias. `from` and `to` are versions of the model."""

    binding: str
    region: str
    function: str
    alias: str
    function_version: str | None
    from_version: str | None = Field(serialization_alias="from", validation_alias="from")
    to_version: str = Field(serialization_alias="to", validation_alias="to")


class PlannedStageDocument(Document):
    """A stage: a wave of regions, its share of the traffic, and the pause after it."""

    regions: list[str]
    percent: int
    pause_s: float


class TrustFindingDocument(Document):
    """A requirement of the trust policy that is not met, and what would meet it."""

    requirement: str
    subject: str
    reason: str
    remedy: str


class PlannedTrustDocument(Document):
    """What the trust policy would do with a release now: `passed`, `warned`, `waived` or `refused`."""

    outcome: str
    policy: str = Field(description="The version of the policy: a SHA-256 of its requirements.")
    findings: list[TrustFindingDocument]


class PlanDocument(Document):
    """What a release of a version would move and flip."""

    model: str
    version: str
    digest: str
    bytes: int
    files: int
    targets: list[PlannedTargetDocument]
    flips: list[PlannedFlipDocument]
    steps: list[PlannedStageDocument]
    warnings: list[str] | None = Field(None, description="What was not checked, and why.")
    trust: PlannedTrustDocument | None = Field(default=None, description="Left out where the policy is off.")


class FindingDocument(Document):
    """The result of one check."""

    subject: str
    what: str
    wrong: str | None
    unanswered: str | None
    remedy: str | None = Field(default=None, description="The command that resolves the difference.")
    refused: bool = Field(default=False, description="It was not answered for a lack of permission.")
    resolved_at: Time | None = Field(
        default=None, description="When a repair, or a check of the alias, found it as recorded after that run."
    )


class VerificationDocument(Document):
    """The results of all checks."""

    good: bool
    findings: list[FindingDocument]
    hint: str | None


class ProofDocument(Document):
    """The newest proof of a sealed copy."""

    model: str
    version: str
    target: str
    proven_at: Time = Field(description="When its bytes were last found right.")
    how: str = Field(description="By its bytes, by its checksums, or by the seal that was written then.")
    checked_at: Time = Field(description="The newest check, which may have found a fault.")
    fault: str | None = Field(description="What that check found wrong; null: nothing.")


class LastVerificationDocument(VerificationDocument):
    """The results of the last run of `verify` of each model, in the record."""

    verified_at: dict[str, Time | None] = Field(description="The end of that run, by model; null: never verified.")
    quick: dict[str, bool] = Field(description="By model: checksums were compared, the bytes were not read.")
    proofs: list[ProofDocument] = Field(default=[], description="The last proof of every sealed copy, oldest first.")
