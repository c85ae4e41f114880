"""Hash chain over events: each link is the SHA-256 of the one before and of its event, so that no change is silent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

GENESIS: Final = "0" * 64
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Link:
    """The link of one event."""

    event_id: int
    hash: str


@dataclass(frozen=True, slots=True)
class ChainBreak:
    """Where the history is not what was linked."""

    event_id: int
    what: str


def flat(event: Any) -> dict[str, Any]:
    """An event as it is linked and exported. Its time is in microseconds since 1970, as text."""
    return {
        "id": event.id,
        "at_us": str((event.at - _EPOCH) // timedelta(microseconds=1)),
        "kind": event.kind,
        "release_id": event.release_id,
        "step_id": event.step_id,
        "attempt": event.attempt,
        "subject": event.subject,
        "detail": event.detail,
    }


def linked(before: str, event: Mapping[str, Any]) -> str:
    """The hash of a link, from the hash of the link before and the event as by `flat`."""
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(f"{before}\n{text}".encode()).hexdigest()


def breaks(pairs: Iterator[tuple[Mapping[str, Any] | None, Link | None]]) -> Iterator[ChainBreak]:
    """Every break in a history: events in order with their links, None for what is not there.

    Events behind the last link are not linked yet, and no break.
    """
    before, before_id = GENESIS, 0
    unlinked: list[int] = []
    for event, link in pairs:
        if link is None:
            if event is not None:
                unlinked.append(int(event["id"]))
            continue
        yield from (ChainBreak(each, "was inserted: it has no link, and a later one has") for each in unlinked)
        unlinked = []
        if event is None:
            yield ChainBreak(link.event_id, "was removed: its link is there")
        elif linked(before, event) != link.hash:
            yield ChainBreak(
                link.event_id, f"was changed, or is not the one that followed {before_id or 'the beginning'}"
            )
        before, before_id = link.hash, link.event_id
