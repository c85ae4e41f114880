"""Registry polling, at intervals and after webhooks, with the models of a registry polled concurrently.

A model whose source hangs delays no other: its poll runs in a thread that can be abandoned, and while it is under
way no second one starts. A model that fails is polled less and less often, independent of the others.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import structlog

from syncd.artifact.names import ModelName
from syncd.errors import Cancelled, SyncdError, Unavailable
from syncd.reconcile.context import Context
from syncd.reconcile.discovery.poll import served_from
from syncd.reconcile.discovery.webhooks import WebhookHints, claim_all, pending_hints, poll_hinted, settle
from syncd.state.content import versions
from syncd.state.records import Release, Version
from syncd.transfer import abandonable_call

log = structlog.get_logger("syncd.polling")

HINTS_EVERY_S: Final = 1.0  # any number of deliveries within it become one poll
HINTS_IDLE_S: Final = 30.0  # while the record does not change: a safety
CONCURRENT_POLLS_MAX: Final = 4  # per registry; polls that have run longer than SLOW_AFTER_S do not count
SLOW_AFTER_S: Final = 10.0
_STALL_S: Final = 600.0  # a poll without progress for longer hangs
_FIRST_WAIT_S: Final = 2.0

Start = Callable[[Callable[[], None]], None]
Tell = Callable[[str, ModelName, SyncdError | None], None]
"""Told the registry, the model, and what ended its poll."""


def _in_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="poll", daemon=True).start()


@dataclass(frozen=True, slots=True)
class _ModelPoll:
    """A poll under way. `number` is that of the newest full scan requested before it began."""

    model: ModelName
    claim: str
    is_full: bool
    began_s: float
    number: int


@dataclass(slots=True)
class FullScan:
    """A poll of every model, requested by deliveries that name no model. It ends when each model was polled since."""

    claim: str
    number: int
    deliveries: int
    pending: set[ModelName]
    released: list[str] = field(default_factory=list)


class Poller:
    """Polls the models of one registry. Safe from several threads."""

    def __init__(  # noqa: PLR0913 -- what a daemon knows, and tests leave out
        self,
        context: Context,
        registry: str,
        poll_s: float,
        *,
        auto_release: bool,
        start: Start = _in_thread,
        changes: Callable[[], int] | None = None,
        tell: Tell = lambda *_: None,
    ) -> None:
        """`poll_s` is the interval: a failed model is retried at least as often, unless the registry sets a delay.

        `changes` counts the changes of the record: while it stays, deliveries are looked for every `HINTS_IDLE_S`.
        `tell` hears of the end of each poll.
        """
        self._changes = changes
        self._known: dict[ModelName, list[Version]] = {}  # the recorded versions of models whose poll is about to begin
        self._quiet: int | None = None  # the changes at the last look, if it found no delivery
        self._looked: tuple[int, float] | None = None  # changes at the last look for deliveries, and its time
        self._context = context
        self._registry = registry
        self._poll_s = poll_s
        self._auto_release = auto_release
        self._start = start
        self._tell = tell
        self._changed = threading.Condition()
        self._due: dict[ModelName, bool] = {}  # whether all its known versions are to be compared
        self._under_way: dict[ModelName, _ModelPoll] = {}
        self._waits: dict[ModelName, tuple[float, float]] = {}  # the length of the wait, and its end
        self._closed_until_s = 0.0
        self._full_scan: FullScan | None = None
        self._number = 0

    def poll(self) -> None:
        """Poll every model. Returns when all polls have ended, except failing and slow ones."""
        models = served_from(self._context, self._registry)
        known: dict[str, list[Version]] = {}
        with (
            suppress(SyncdError),
            self._context.state.read() as conn,
        ):  # each poll reads its own then, or reports why not
            known = versions.known_of(conn, models)
        with self._changed:
            self._due |= dict.fromkeys(models, True)
            self._known |= {model: known[model] for model in models if model in known}
        self._begin()
        with self._changed:
            while self._are_awaited(models) and not self._context.draining.is_set():
                self._changed.wait(0.1)
        # Slots of polls that became slow by now are reused by `poll_reported`, which runs each second.

    def poll_reported(self) -> None:
        """Poll what webhooks reported since the last call, each model once."""
        if self._is_unchanged():
            self._begin()
            return
        with self._changed:
            claims = {poll.claim for poll in self._under_way.values()}
            claims |= {self._full_scan.claim} if self._full_scan else set()
        count = self._changes() if self._changes else 0
        found = pending_hints(self._context, self._registry, claims)
        self._quiet = count if found == WebhookHints() and self._full_scan is None else None
        if found.is_everything:
            self._begin_full_scan(is_too_much=found.is_too_much)
        with self._changed:
            for model in found.models:
                self._due.setdefault(model, False)
        self._begin()

    def _is_quiet(self) -> bool:
        """Whether the last look found no delivery, and none can have come since."""
        return self._changes is not None and self._quiet is not None and self._quiet == self._changes()

    def _is_unchanged(self) -> bool:
        """Whether no delivery can have come since the last look."""
        if self._changes is None:
            return False
        now_s, count, looked = time.monotonic(), self._changes(), self._looked
        if looked is not None and looked[0] == count and now_s < looked[1] + HINTS_IDLE_S:
            return True
        self._looked = count, now_s
        return False

    def stop(self, patience_s: float) -> None:
        """Wait for polls under way, once the process drains: they end by themselves or are abandoned."""
        with self._changed:
            self._changed.wait_for(lambda: not self._under_way, patience_s)

    def _begin_full_scan(self, *, is_too_much: bool) -> None:
        """Poll every model, including those whose poll is under way."""
        models, claim = served_from(self._context, self._registry), secrets.token_hex(8)
        claimed = claim_all(self._context, self._registry, claim, is_too_much=is_too_much)
        if not models:
            settle(self._context, self._registry, claim, claimed, [], [])
            return
        with self._changed:  # after the claim: polls that began before it do not count
            self._number += 1
            self._full_scan = FullScan(claim, self._number, claimed, set(models))
            self._due |= dict.fromkeys(models, True)

    def _begin(self) -> None:
        while (poll := self._next()) is not None:
            self._start(partial(self._run, poll))

    def _next(self) -> _ModelPoll | None:
        with self._changed:
            now_s = time.monotonic()
            if sum(now_s - poll.began_s < SLOW_AFTER_S for poll in self._under_way.values()) >= CONCURRENT_POLLS_MAX:
                return None
            model = next((model for model in self._due if self._may_begin(model, now_s)), None)
            if model is None or self._context.draining.is_set():
                return None
            poll = _ModelPoll(model, secrets.token_hex(8), self._due.pop(model), now_s, self._number)
            self._under_way[model] = poll
            return poll

    def _may_begin(self, model: ModelName, now_s: float) -> bool:
        _, until_s = self._waits.get(model, (0.0, 0.0))
        return model not in self._under_way and now_s >= max(until_s, self._closed_until_s)

    def _are_awaited(self, models: Collection[ModelName]) -> bool:
        now_s = time.monotonic()
        running = (poll.model for poll in self._under_way.values() if now_s - poll.began_s < SLOW_AFTER_S)
        due = (model for model in self._due if self._may_begin(model, now_s))
        return any(model in models for model in (*running, *due))

    def _run(self, poll: _ModelPoll) -> None:
        with self._changed:
            known = self._known.pop(poll.model, None)
        do = partial(
            poll_hinted, self._context, self._registry, poll.model, poll.claim,
            is_whole=poll.is_full, auto_release=self._auto_release, known=known, is_quiet=self._is_quiet(),
        )  # fmt: skip
        where, context = f"{self._registry} {poll.model}", self._context
        error: SyncdError | None = Cancelled("a bug in syncd ended the poll")
        created: list[Release] = []
        try:
            created = abandonable_call(
                where, do, context.transfer, context.draining, what="a poll", patience_s=_STALL_S
            )
            error = None
        except SyncdError as failed:
            error = failed
        finally:
            self._ended(poll, error, created)
        self._begin()

    def _ended(self, poll: _ModelPoll, error: SyncdError | None, created: list[Release]) -> None:
        with self._changed:
            del self._under_way[poll.model]
            if error is None:
                self._waits.pop(poll.model, None)
            else:
                self._wait(poll, error)
            ended = self._ended_scan(poll, created) if error is None else None
            self._changed.notify_all()
        if not self._context.draining.is_set():
            self._tell(self._registry, poll.model, error)
        if ended is None:
            return
        try:
            settle(self._context, self._registry, ended.claim, ended.deliveries, ["*"], ended.released)
        except SyncdError as failed:  # the record is unreachable; the deliveries stay unpolled and are claimed again
            log.warning(
            "poll.unrecorded",
            message="The result of a poll could not be recorded; it will be repeated.",
            registry=self._registry, error=failed.message, hint=failed.hint,
            )  # fmt: skip

    def _wait(self, poll: _ModelPoll, error: SyncdError) -> None:
        """Back off exponentially, up to the poll interval; a delay that the registry requests is kept."""
        if self._context.draining.is_set():
            return
        before_s, _ = self._waits.get(poll.model, (0.0, 0.0))
        wait_s = min(max(_FIRST_WAIT_S, 2 * before_s), self._poll_s)
        now_s = time.monotonic()
        self._waits[poll.model] = (wait_s, now_s + wait_s)
        self._due[poll.model] = self._due.get(poll.model, False) or poll.is_full
        requested_s = (error.retry_after_s if isinstance(error, Unavailable) else None) or 0.0
        self._closed_until_s = max(self._closed_until_s, now_s + requested_s)
        log.warning(
            "poll.failed",
            message="A model could not be polled; it will be polled again.",
            registry=self._registry, model=poll.model, error=error.message, hint=error.hint,
        )  # fmt: skip

    def _ended_scan(self, poll: _ModelPoll, created: list[Release]) -> FullScan | None:
        """The full scan, once every model has a full poll that began after the scan was requested."""
        scan = self._full_scan
        if scan is None or poll.number < scan.number or not poll.is_full:
            return None
        scan.pending.discard(poll.model)
        scan.released += [release.id for release in created]
        if scan.pending:
            return None
        self._full_scan = None
        return scan
