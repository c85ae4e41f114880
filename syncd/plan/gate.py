"""Gates of the barrier: required approvals, and windows of the week without flips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, tzinfo
from typing import Final

from syncd.values.patterns import selects

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class WeekTime:
    """A day of the week, 0 for Monday, and a time of that day."""

    day: int
    at: time

    def __str__(self) -> str:
        return f"{DAYS[self.day]} {self.at:%H:%M}"

    @property
    def minute(self) -> int:
        """Minutes since the week began."""
        return (self.day * 24 + self.at.hour) * 60 + self.at.minute


@dataclass(frozen=True, slots=True)
class Window:
    """A weekly window, from one time to another (across the week's end where that is earlier), for some models."""

    since: WeekTime
    to: WeekTime
    zone: tzinfo
    models: tuple[str, ...] = ("*",)  # names, or patterns as registries have them

    def covers(self, model: str, now: datetime) -> bool:
        """Whether the window covers `model` at this aware time. The last minute is excluded."""
        if not any(selects(pattern, model) for pattern in self.models):
            return False
        there = now.astimezone(self.zone)
        minute = WeekTime(there.weekday(), there.time()).minute
        since, to = self.since.minute, self.to.minute
        return since <= minute < to if since < to else minute >= since or minute < to


@dataclass(frozen=True, slots=True)
class Gates:
    """The configured gates."""

    approval: tuple[str, ...] = ()  # models whose releases a person has to approve
    windows: tuple[Window, ...] = ()

    def wants_approval(self, model: str) -> bool:
        """Whether a release of the model needs an approval."""
        return any(selects(pattern, model) for pattern in self.approval)

    def window(self, model: str, now: datetime) -> str:
        """The window that covers the model now, as text; empty where none does."""
        return next((f"{w.since} to {w.to} {w.zone}" for w in self.windows if w.covers(model, now)), "")


@dataclass(frozen=True, slots=True)
class Blocked:
    """The reason why a release waits, and advice."""

    reason: str
    hint: str


def blocked_at(release: str, *, unapproved: bool, frozen: Sequence[str]) -> Blocked | None:
    """What a release that is ready waits for before its first flip; None where nothing blocks it."""
    if unapproved:
        return Blocked("waits for an approval", f"`syncd approve {release}`, or `syncd cancel {release}`")
    if frozen:
        return Blocked(f"waits: {frozen[0]}", "it goes on by itself when that ends; `syncd unfreeze` lifts a freeze")
    return None
