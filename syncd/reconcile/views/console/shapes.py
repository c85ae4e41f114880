"""Shapes of the dashboard's pages, made of those of the API."""

from __future__ import annotations

from typing import Literal

from syncd.reconcile.views.shapes.base import Document, Time
from syncd.reconcile.views.shapes.overview import ClosedDriftDocument, DriftedDocument, LiveDocument
from syncd.reconcile.views.shapes.releases import ListedReleaseDocument, ReleaseHistoryDocument
from syncd.reconcile.views.shapes.serving import (
    ApprovalDocument,
    ComponentHealthDocument,
    FreezeDocument,
    HoldDocument,
)


class StageDocument(Document):
    """One stage of a release: a wave of regions at one share."""

    wave: int
    regions: list[str]
    percent: int
    state: Literal["done", "now", "ahead"]


class ReleasePageDocument(Document):
    """A release with its whole history, its stages and its approval."""

    release: ReleaseHistoryDocument
    stages: list[StageDocument]
    approval: ApprovalDocument | None


class RecordedVersionDocument(Document):
    """A version of a model that was released once, and where it is."""

    version: str
    digest: str
    size_bytes: int
    recorded_at: Time
    quarantined: str
    sealed: list[str]
    live: list[str]


class RegionBytesDocument(Document):
    """The sealed bytes of a model in a region."""

    region: str
    target: str
    size_bytes: int


class ModelPageDocument(Document):
    """A model: what serves it, its versions and releases."""

    model: str
    registry: str
    held: HoldDocument | None
    frozen: list[FreezeDocument]
    live: list[LiveDocument]
    versions: list[RecordedVersionDocument]
    sealed: list[RegionBytesDocument]
    releases: list[ListedReleaseDocument]


class FunctionVersionDocument(Document):
    """A function version that syncd published."""

    function_version: str
    release: str
    staged_at: Time
    models: dict[str, str]


class BindingPageDocument(Document):
    """A binding: its alias, what it serves, and its drift."""

    binding: str
    region: str
    function: str
    alias: str
    candidate: str
    serves: list[LiveDocument]
    published: list[FunctionVersionDocument]
    compared_at: Time | None
    drifted: list[DriftedDocument]
    ended: list[ClosedDriftDocument]


class RecordedDeliveryDocument(Document):
    """A delivery of a webhook."""

    hook: str
    subject: str
    place: str
    ref: str
    received_at: Time
    polled_at: Time | None


class RegistryPageDocument(Document):
    """A registry: its last poll, and the newest deliveries about it."""

    registry: str
    patterns: list[str]
    health: ComponentHealthDocument | None
    deliveries: list[RecordedDeliveryDocument]


class MoveDocument(Document):
    """What an action does to one alias."""

    binding: str
    region: str
    now: str | None
    then: str | None


class ActionDocument(Document):
    """What an action would do, by the record now."""

    model: str
    says: str
    moves: list[MoveDocument]
