"""Looks at a registry, soon after a webhook told of it and now and then anyway: each model beside the others.

A model whose source hangs delays no other: its look is made in a thread that can be left behind, and while it is under
way it is not begun again. One that fails is looked at less and less often, whatever the others do.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import structlog

from syncd.artifact.names import ModelName
from syncd.errors import Cancelled, SyncdError, Unavailable
from syncd.reconcile.context import Context
from syncd.reconcile.discovery.poll import served_from
from syncd.reconcile.discovery.webhooks import claim_all, news, poll_hinted, settle
from syncd.state.records import Release
from syncd.transfer import abandonable_call

log = structlog.get_logger("syncd.looks")

ASKED_EVERY_S: Final = 1.0  # any number of deliveries within it become one look
AT_ONCE_MAX: Final = 4  # of one registry; who has been at it for longer than LENT_S does not count
LENT_S: Final = 10.0
LOOK_S: Final = 600.0  # a look that has been silent for longer hangs
_FIRST_WAIT_S: Final = 2.0

Start = Callable[[Callable[[], None]], None]


def _in_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="look", daemon=True).start()


@dataclass(frozen=True, slots=True)
class _ModelPoll:
    """One under way. `number` is of the newest thing that was told of everything before it began."""

    model: ModelName
    claim: str
    is_whole: bool
    began_s: float
    number: int


@dataclass(slots=True)
class FullScan:
    """What was told and names no model: settled when each model was looked at since."""

    claim: str
    number: int
    told: int
    owing: set[ModelName]
    asked: list[str] = field(default_factory=list)


class Poller:
    """One registry's. Safe from several threads."""

    def __init__(
        self, context: Context, registry: str, poll_s: float, *, auto_release: bool, start: Start = _in_thread
    ) -> None:
        """`poll_s` is how often it is polled: what fails is tried at least as often, unless the registry says not."""
        self._rooms = context
        self._registry = registry
        self._poll_s = poll_s
        self._auto_release = auto_release
        self._start = start
        self._changed = threading.Condition()
        self._due: dict[ModelName, bool] = {}  # whether all that is known of it is to be compared
        self._under_way: dict[ModelName, _ModelPoll] = {}
        self._waits: dict[ModelName, tuple[float, float]] = {}  # how long it waits, and until when
        self._closed_until_s = 0.0
        self._everything: FullScan | None = None
        self._number = 0

    def poll(self) -> None:
        """Have every model looked at. Returns when all were, but for those that fail or have been long at it."""
        models = served_from(self._rooms, self._registry)
        with self._changed:
            self._due |= dict.fromkeys(models, True)
        self._begin()
        with self._changed:
            while self._are_awaited(models) and not self._rooms.draining.is_set():
                self._changed.wait(0.1)
        # What was lent by now is given to the next by `told`, which comes round each second.

    def told(self) -> None:
        """Have looked at what was told of since the last look, each model once."""
        with self._changed:
            claims = {look.claim for look in self._under_way.values()}
            claims |= {self._everything.claim} if self._everything else set()
        found = news(self._rooms, self._registry, claims)
        if found.is_everything:
            self._take_everything(is_too_much=found.is_too_much)
        with self._changed:
            for model in found.models:
                self._due.setdefault(model, False)
        self._begin()

    def stop(self, patience_s: float) -> None:
        """Wait for those under way, once the process drains: they end by themselves or are left behind."""
        with self._changed:
            self._changed.wait_for(lambda: not self._under_way, patience_s)

    def _take_everything(self, *, is_too_much: bool) -> None:
        """Every model is looked at, also those that are being looked at right now."""
        models, claim = served_from(self._rooms, self._registry), secrets.token_hex(8)
        told = claim_all(self._rooms, self._registry, claim, is_too_much=is_too_much)
        if not models:
            settle(self._rooms, self._registry, claim, told, [], [])
            return
        with self._changed:  # only now: looks that began before it was claimed do not count
            self._number += 1
            self._everything = FullScan(claim, self._number, told, set(models))
            self._due |= dict.fromkeys(models, True)

    def _begin(self) -> None:
        while (look := self._next()) is not None:
            self._start(partial(self._make, look))

    def _next(self) -> _ModelPoll | None:
        with self._changed:
            now_s = time.monotonic()
            if sum(now_s - look.began_s < LENT_S for look in self._under_way.values()) >= AT_ONCE_MAX:
                return None
            model = next((model for model in self._due if self._may_begin(model, now_s)), None)
            if model is None or self._rooms.draining.is_set():
                return None
            look = _ModelPoll(model, secrets.token_hex(8), self._due.pop(model), now_s, self._number)
            self._under_way[model] = look
            return look

    def _may_begin(self, model: ModelName, now_s: float) -> bool:
        _, until_s = self._waits.get(model, (0.0, 0.0))
        return model not in self._under_way and now_s >= max(until_s, self._closed_until_s)

    def _are_awaited(self, models: Collection[ModelName]) -> bool:
        now_s = time.monotonic()
        at_it = (look.model for look in self._under_way.values() if now_s - look.began_s < LENT_S)
        due = (model for model in self._due if self._may_begin(model, now_s))
        return any(model in models for model in (*at_it, *due))

    def _make(self, look: _ModelPoll) -> None:
        do = partial(
            poll_hinted, self._rooms, self._registry, look.model, look.claim,
            is_whole=look.is_whole, auto_release=self._auto_release,
        )  # fmt: skip
        where, context = f"{self._registry} {look.model}", self._rooms
        error: SyncdError | None = Cancelled("a mistake of ours ended the look")
        asked: list[Release] = []
        try:
            asked = abandonable_call(where, do, context.transfer, context.draining, what="a look", patience_s=LOOK_S)
            error = None
        except SyncdError as failed:
            error = failed
        finally:
            self._ended(look, error, asked)
        self._begin()

    def _ended(self, look: _ModelPoll, error: SyncdError | None, asked: list[Release]) -> None:
        with self._changed:
            del self._under_way[look.model]
            if error is None:
                self._waits.pop(look.model, None)
            else:
                self._wait(look, error)
            settled = self._has_settled(look, asked) if error is None else None
            self._changed.notify_all()
        if settled is None:
            return
        try:
            settle(self._rooms, self._registry, settled.claim, settled.told, ["*"], settled.asked)
        except SyncdError as unsettled:  # the record is out of reach; what was told is told again
            log.warning("look not settled", registry=self._registry, error=unsettled.message, hint=unsettled.hint)

    def _wait(self, look: _ModelPoll, error: SyncdError) -> None:
        """Less and less often, though not less than it is polled; a registry that says how long is obeyed."""
        if self._rooms.draining.is_set():
            return
        before_s, _ = self._waits.get(look.model, (0.0, 0.0))
        wait_s = min(max(_FIRST_WAIT_S, 2 * before_s), self._poll_s)
        now_s = time.monotonic()
        self._waits[look.model] = (wait_s, now_s + wait_s)
        self._due[look.model] = self._due.get(look.model, False) or look.is_whole
        told_s = (error.retry_after_s if isinstance(error, Unavailable) else None) or 0.0
        self._closed_until_s = max(self._closed_until_s, now_s + told_s)
        log.warning(
            "look failed, it will be made again",
            registry=self._registry, model=look.model, error=error.message, hint=error.hint,
        )  # fmt: skip

    def _has_settled(self, look: _ModelPoll, asked: list[Release]) -> FullScan | None:
        """What was told of everything, once no model owes it a look that began after it came."""
        everything = self._everything
        if everything is None or look.number < everything.number or not look.is_whole:
            return None
        everything.owing.discard(look.model)
        everything.asked += [release.id for release in asked]
        if everything.owing:
            return None
        self._everything = None
        return everything
