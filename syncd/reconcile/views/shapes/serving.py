"""Shapes of holds, freezes and approvals, of health and errors, and of an accepted delivery."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from syncd.plan.phases import ReleasePhase
from syncd.reconcile.views.shapes.base import Document, Time
from syncd.values.health import HealthState


class HoldDocument(Document):
    """A hold: automation leaves the model alone."""

    model: str
    who: str
    why: str
    since: Time


class FreezeDocument(HoldDocument):
    """A freeze: only rollbacks flip. `model` is `*` for all models."""

    until: Time | None = Field(description="null: until it is lifted.")


class LiftedDocument(Document):
    """The answer to the end of a hold or of a freeze."""

    model: str | None = Field(description="null: all models.")
    lifted: bool = Field(description="Whether there was one.")


class LeaseDocument(Document):
    """A version that a reader outside syncd uses: it is not removed before the end."""

    name: str
    model: str
    version: str
    who: str
    since: Time = Field(description="When it was taken, or renewed.")
    until: Time


class LeasesDocument(Document):
    """The leases in effect."""

    leases: list[LeaseDocument]


class LeaseEndDocument(Document):
    """The answer to the end of a lease."""

    name: str
    ended: bool = Field(description="Whether there was one.")


class ApprovalDocument(Document):
    """A person's consent to the flip of a release, for this digest."""

    release: str
    digest: str
    who: str
    at: Time


class CancelledDocument(Document):
    """A release whose end is requested."""

    release: str
    model: str
    version: str
    phase: ReleasePhase


class DeliveryDocument(Document):
    """An accepted delivery of a webhook."""

    accepted: int = Field(description="The models that it names.")
    new: int = Field(description="Those that were not known from an earlier delivery.")


class RefusalDocument(Document):
    """A refused caller, by name and address."""

    name: str = Field(description="A token's or a webhook's; empty if it is unknown who called.")
    address: str
    reason: str = Field(description="Of the newest refusal.")
    count: int
    first_at: Time
    last_at: Time


class RefusalsDocument(Document):
    """The callers that were refused in the last hour, newest first."""

    refusals: list[RefusalDocument]


class RefusedCallersDocument(Document):
    """Refused callers of the last hour, for the overview: all of them counted, the most frequent ones listed."""

    total: int
    callers: list[RefusalDocument] = Field(description="At most 5; of the API only with role `operate`.")


class ReadyComponentDocument(Document):
    """A component that the process works with, for probes: its reason is for those who have a token."""

    section: str = Field(description="registries, targets, credentials, runtimes, drift or record.")
    name: str
    state: HealthState = Field(description="unknown: not checked since the daemon started.")
    since: Time


class TroubleDocument(ReadyComponentDocument):
    """A component that is not good, and why."""

    reason: str
    hint: str


class ComponentHealthDocument(TroubleDocument):
    """A component, as the last check found it."""

    seen_at: Time | None = Field(description="The time of that check; null before the first.")


class DaemonProcessDocument(Document):
    """A process that works on the record."""

    owner: str
    host: str
    pid: int
    seen_at: Time


class HealthReportDocument(Document):
    """The health of the daemon and of all that it works with."""

    status: Literal["good", "degraded", "bad"] = Field(description="bad: no daemon, or the record cannot be written.")
    alive: bool = Field(description="A daemon reported within 30 seconds.")
    processes: list[DaemonProcessDocument]
    lost: DaemonProcessDocument | None = Field(
        default=None, description="Where none works: the last one, if it was killed or cut off within a day."
    )
    components: list[ComponentHealthDocument]
    refused: RefusedCallersDocument | None = Field(default=None, description="null: nobody in the last hour.")


class HealthDocument(Document):
    """The process is well. What it works with never changes that."""

    status: Literal["ok"]
    components: list[ReadyComponentDocument] = Field(default=[], description="Of `/readyz` only.")


class ErrorDocument(Document):
    """An error. `code` is for programs, `message` and `hint` are for people."""

    code: str
    message: str
    hint: str
