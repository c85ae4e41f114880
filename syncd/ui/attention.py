"""What needs a person, in the order of urgency: the sentence, the command, and the button that does the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from syncd.reconcile.views.shapes.overview import InFlightDocument, StatusDocument

SHOWN_MAX = 50  # of each kind; the first screen is for reading


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that needs a person."""

    kind: str
    about: str
    says: str
    hint: str
    page: str = ""  # of what it is about
    action: str = ""  # of the button
    button: str = ""


def attention(status: StatusDocument) -> tuple[list[Item], int]:
    """What needs a person, at most SHOWN_MAX of each kind, and how many more there are."""
    kinds = [list(each(status)) for each in (_off, _stalled, _waiting, _drifted, _quarantined, _unhealthy, _bases)]
    return [item for items in kinds for item in items[:SHOWN_MAX]], sum(max(0, len(i) - SHOWN_MAX) for i in kinds)


def awaits_approval(release: str, hint: str) -> bool:
    """Whether a release waits for `syncd approve`."""
    return f"`syncd approve {release}`" in hint


def _off(status: StatusDocument) -> Iterator[Item]:
    if status.automatic_releases_off:
        yield Item("off", "automatic releases", f"off: {status.automatic_releases_off}", "")


def _stalled(status: StatusDocument) -> Iterator[Item]:
    for each in status.stalled:
        about, page = f"{each.model}@{each.version}", f"/ui/releases/{each.release}"
        says = f"{each.release} is {each.phase}: {each.reason}"
        yield Item("stalled", about, says, each.hint, page, f"/ui/do/dismiss/{each.release}", "Dismiss")


def _waiting(status: StatusDocument) -> Iterator[Item]:
    for each in status.in_flight:
        if awaits_approval(each.release, each.hint):
            yield _of(each, "approve", "Approve", "approval")
        elif any(step.failures for step in each.waiting):
            yield _of(each, "retry", "Retry", "retrying")


def _of(each: InFlightDocument, verb: str, button: str, kind: str) -> Item:
    page = f"/ui/releases/{each.release}"
    about, says = f"{each.model}@{each.version}", f"{each.release} is {each.phase}: {each.reason}"
    return Item(kind, about, says, each.hint, page, f"/ui/do/{verb}/{each.release}", button)


def _drifted(status: StatusDocument) -> Iterator[Item]:
    for each in status.drifted:
        says = f"{each.what} is {each.got}, the record says {each.want}"
        hint = f"being restored by {each.restoring}" if each.restoring else each.hint
        yield Item("drift", each.binding, says, hint, f"/ui/bindings/{each.binding}")


def _quarantined(status: StatusDocument) -> Iterator[Item]:
    for each in status.quarantined:
        hint = f"`syncd unquarantine {each.model}@{each.version}` accepts it after a check"
        yield Item("quarantine", f"{each.model}@{each.version}", each.reason, hint, f"/ui/models/{each.model}")


def _unhealthy(status: StatusDocument) -> Iterator[Item]:
    for each in status.unhealthy:
        page = "/ui/registries" if each.section == "registries" else ""
        yield Item(each.state, f"{each.section}.{each.name}", each.reason, each.hint, page)


def _bases(status: StatusDocument) -> Iterator[Item]:
    for each in status.bases:
        yield Item("base", f"{each.model} at {each.target}", each.says, each.hint, f"/ui/models/{each.model}")
