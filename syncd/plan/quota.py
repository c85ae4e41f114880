"""Quotas of a region: instances and GPUs that are held, against what the account may hold there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

ALL_CARDS: Final = "*"
PUBLISHED: Final = (
    "the platform's published defaults are 300 instances a region, and 30 GPUs by one page"
    " or 10 of tesla.1, 3 of ada.1, 3 of ampere.1 and none of the others by another"
)


@dataclass(frozen=True, slots=True)
class Quota:
    """What the account may hold in a region; 0 `instances`: not configured. `gpus` are by card, "*" is all of them."""

    instances: int = 0
    gpus: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_configured(self) -> bool:
        """Whether anything is."""
        return bool(self.instances or self.gpus)


@dataclass(frozen=True, slots=True)
class HeldInstances:
    """Instances that an alias holds, or is about to; each has one GPU of the card, or none."""

    what: str  # such as "draw:prod"
    instances: int
    card: str = ""


def excess(quota: Quota, held: Sequence[HeldInstances]) -> str:
    """The first quota that would be exceeded, with the arithmetic; "" for none."""
    if quota.instances and (text := _sum("instances", quota.instances, held)):
        return text
    for card, most in quota.gpus.items():
        of = [each for each in held if each.card and card in {each.card, ALL_CARDS}]
        name = "GPUs" if card == ALL_CARDS else f"GPUs of {card}"
        if text := _sum(name, most, of):
            return text
    return ""


def _sum(name: str, most: int, held: Sequence[HeldInstances]) -> str:
    counted = [each for each in held if each.instances]
    total = sum(each.instances for each in counted)
    if total <= most:
        return ""
    parts = " + ".join(f"{each.instances} ({each.what})" for each in counted)
    return f"{parts} = {total} {name}, the quota is {most}"
