"""What is said about an event: one sentence, what to do, and how urgent it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final


class Severity(StrEnum):
    """How urgent a notice is."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


_ORDER: Final = tuple(Severity)
# The kinds of events that are told. The command is what a person runs first; {release} and {subject} are filled in.
KINDS: Final[Mapping[str, tuple[Severity, str, str]]] = {
    "release.requested": (Severity.INFO, "was requested", "syncd show {release}"),
    "release.approved": (Severity.INFO, "was approved", "syncd show {release}"),
    "release.live": (Severity.INFO, "is live in every region", "syncd show {release}"),
    "release.superseded": (Severity.INFO, "was superseded by a newer release", "syncd show {release}"),
    "release.cancelled": (Severity.INFO, "was cancelled", "syncd show {release}"),
    "release.stalled": (Severity.WARNING, "stalled before its first flip", "syncd show {release}"),
    "release.undoing": (Severity.CRITICAL, "failed after its first flip and is undone", "syncd show {release}"),
    "release.undone": (Severity.CRITICAL, "was undone, and the model is on hold", "syncd show {release}"),
    "version.quarantined": (Severity.CRITICAL, "is shown by its registry with other bytes", "syncd status"),
    "binding.drifted": (Severity.WARNING, "was changed outside syncd", "syncd drift {subject}"),
    "binding.unrestored": (Severity.CRITICAL, "could not be restored", "syncd drift {subject}"),
    "hold.put": (Severity.INFO, "is on hold", "syncd status"),
    "hold.lifted": (Severity.INFO, "is not on hold any more", "syncd status"),
    "freeze.put": (Severity.INFO, "is frozen", "syncd status"),
    "copy.damaged": (Severity.WARNING, "has a damaged copy, which is being repaired", "syncd verify --results"),
    "version.no_good_copy": (Severity.CRITICAL, "has no good copy left at any target", "syncd verify --results"),
    "repair.failed": (Severity.CRITICAL, "has damaged bytes that could not be repaired", "syncd status"),
    "automatic_releases.stopped": (Severity.WARNING, "automatic releases are off", "syncd status"),
}


@dataclass(frozen=True, slots=True)
class Notice:
    """One notification. `id` is the same each time it is sent."""

    id: str
    kind: str
    severity: Severity
    at: datetime
    subject: str
    release: str
    text: str
    command: str


def is_at_least(severity: Severity, least: Severity) -> bool:
    """Whether a severity is `least` or more urgent."""
    return _ORDER.index(severity) >= _ORDER.index(least)


def about(
    kind: str, *, event_id: int, at: datetime, subject: str, release: str, detail: Mapping[str, object]
) -> Notice | None:
    """The notice about an event; None for a kind that is not told."""
    known = KINDS.get(kind)
    if known is None:
        return None
    severity, said, command = known
    name = f"{subject}@{detail['ref']}" if release and detail.get("ref") else subject
    what = f"{name}: release {release} {said}" if kind.startswith("release.") else f"{name} {said}".strip()
    why = " ".join(str(detail[key]) for key in ("reason", "why", "hint") if detail.get(key))
    text = f"{what}: {why}" if why else what
    return Notice(
        f"syncd-{event_id}", kind, severity, at, subject, release, text[:2000],
        command.format(release=release, subject=subject),
    )  # fmt: skip
