"""Copies of holds at every target: a record that is lost must not release what a person had held.

Each hold, and each lifting of one, is a small document of its own, `.syncd/holds/<model>/<time>.json`, which never
changes; of a model the newest one counts. Writing them is best effort and after the commit: neither a hold nor a
rollback ever waits for a target.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Final

import structlog

from syncd.artifact.names import parse_model
from syncd.errors import Conflict, Invalid, SyncdError
from syncd.reconcile.context import World
from syncd.state.releases import holds
from syncd.state.releases.holds import HoldChange

log = structlog.get_logger("syncd.holds")

DIRECTORY: Final = "holds"
COPIED_EVERY_S: Final = 5.0
_ENDING: Final = ".json"


class HoldCopies:
    """Keeps one target's copies up to date. It remembers in memory how far it came: a restart copies again."""

    def __init__(self, world: World, target: str) -> None:
        self._world = world
        self._target = target
        self._copied = 0  # the last event that is at the target

    def __call__(self) -> None:
        """Write what changed since the last call, newest word of each model; older copies of it are removed.

        Raises:
            Unavailable, Refused: The target does not take it now. The next call does it again.
        """
        with self._world.state.read() as conn:
            changed = holds.changes(conn, self._copied)
        if not changed:
            return
        newest = {change.model: change for change in changed}
        for change in newest.values():
            self._write(change)
        self._copied = changed[-1].event_id

    def _write(self, change: HoldChange) -> None:
        target = self._world.targets[self._target]
        name = _name(change)
        try:
            target.put_note(DIRECTORY, name, _document(change))
        except Conflict as conflict:  # two words of one microsecond: both were committed, either is one
            log.warning("hold.copy_differs", message="Another copy of the hold has the same time.", model=change.model,
                        target=self._target, reason=conflict.message)  # fmt: skip
        older = [other for other, _ in target.notes(f"{DIRECTORY}/{change.model}") if other < name.rpartition("/")[2]]
        for other in older:
            target.delete_note(f"{DIRECTORY}/{change.model}", other)


def read(world: World, target: str) -> dict[str, HoldChange]:
    """The newest copy of each model at a target. What is no copy of a hold is logged and left out.

    Raises:
        Unavailable, Refused: The target cannot be read.
    """
    newest: dict[str, HoldChange] = {}
    for name, data in world.targets[target].notes(DIRECTORY):
        try:
            change = _parsed(data)
        except (Invalid, ValueError, TypeError, KeyError) as error:
            log.warning("hold.copy_unreadable", message="A copy of a hold cannot be read.", target=target, name=name,
                        reason=str(error))  # fmt: skip
            continue
        known = newest.get(change.model)
        if known is None or change.at > known.at:
            newest[change.model] = change
    return newest


def read_all(world: World) -> tuple[dict[str, HoldChange], list[str]]:
    """The newest copy of each model at any target, and which targets could not be read, with the reason."""
    newest: dict[str, HoldChange] = {}
    unread: list[str] = []
    for name in world.targets:
        try:
            found = read(world, name)
        except SyncdError as error:
            unread.append(f"target {name} could not be asked: {error.message}")
            continue
        for model, change in found.items():
            if model not in newest or change.at > newest[model].at:
                newest[model] = change
    return newest, unread


def read_back(world: World) -> list[str]:
    """Take holds, and liftings of them, that are newer at some target than in the record. Returns their models.

    A record that was restored from a copy does not know of the holds since. Targets that cannot be read are logged.

    Raises:
        Unavailable: The record cannot be reached.
    """
    newest, unread = read_all(world)
    for reason in unread:
        log.warning("hold.copies_unread", message="Copies of holds could not be read.", reason=reason)
    if not newest:
        return []
    with world.state.write() as conn:
        now = world.state.now(conn)
        adopted = [model for model, change in sorted(newest.items()) if holds.adopt(conn, change, now)]
    for model in adopted:
        log.warning("hold.adopted", message="A target had a newer hold than the record.", model=model,
                    held=newest[model].held, who=newest[model].who, why=newest[model].why)  # fmt: skip
    return adopted


def _name(change: HoldChange) -> str:
    at_us = int(change.at.timestamp() * 1_000_000)
    return f"{change.model}/{at_us:017d}{_ENDING}"


def _document(change: HoldChange) -> bytes:
    at = change.at.astimezone(UTC).isoformat()
    said = {"model": change.model, "held": change.held, "who": change.who, "why": change.why, "at": at}
    return json.dumps(said, sort_keys=True).encode()


def _parsed(data: bytes) -> HoldChange:
    said = json.loads(data)
    at = datetime.fromisoformat(said["at"])
    if at.tzinfo is None or not isinstance(said["held"], bool):
        raise ValueError("its time has no zone, or it does not say whether it holds")
    return HoldChange(0, parse_model(said["model"]), said["held"], str(said["who"]), str(said["why"]), at)
