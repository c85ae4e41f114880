"""Sending of notifications: each notifier follows the events, which are written in the transactions they describe.

So nothing is lost, whenever the process ends: what was not recorded as sent is sent again, at most one notice for each
end. Notices of one notifier are sent one after another, in the order of the events.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Protocol

import structlog

from syncd.errors import SyncdError, Unavailable
from syncd.notify.notice import Notice, Severity, about, is_at_least
from syncd.state.access import notifications
from syncd.state.access.notifications import DeadLetter, NotifierProgress
from syncd.state.records import Event
from syncd.state.releases import events
from syncd.state.state import State
from syncd.values.patterns import selects

log = structlog.get_logger("syncd.notifications")

EVENTS_AT_ONCE: Final = 500
BACKOFF_BASE_S: Final = 2.0
BACKOFF_CAP_S: Final = 3600.0
FAILURES_MAX: Final = 20  # with the back-off above, about ten hours


class NoticeSender(Protocol):
    """Takes a notice to a receiver. Raises SyncdError where the receiver did not take it."""

    def send(self, notice: Notice) -> None: ...


@dataclass(frozen=True, slots=True)
class Notifier:
    """A receiver, and what is sent to it."""

    name: str
    sender: NoticeSender
    models: tuple[str, ...] = ("*",)
    kinds: tuple[str, ...] = ("*",)
    least: Severity = Severity.WARNING
    stopping: Callable[[], bool] = field(default=lambda: False)

    def wants(self, notice: Notice, model: str) -> bool:
        """Whether the notice is for this receiver. One that is about no model is for all of that severity and kind."""
        is_of_model = not model or any(selects(pattern, model) for pattern in self.models)
        is_of_kind = any(selects(pattern, notice.kind) for pattern in self.kinds)
        return is_of_model and is_of_kind and is_at_least(notice.severity, self.least)


def deliver(state: State, notifier: Notifier) -> int:
    """Send what is due, until a failure or the end of the events. Returns how many were sent."""
    sent = 0
    while not notifier.stopping():
        with state.read() as conn:
            progress, now = notifications.find(conn, notifier.name), state.now(conn)
            found = events.after(conn, progress.event_id, EVENTS_AT_ONCE) if progress else []
        if progress is None:
            with state.write() as conn:
                notifications.begin(conn, notifier.name, now)
            continue
        if not found or progress.due_at > now:
            return sent
        due = [(event, notice) for event in found if (notice := _notice(notifier, event)) is not None]
        if not due:
            _advance(state, notifier, found[-1].id)
            continue
        if not _send(state, notifier, progress, *due[0]):
            return sent
        sent += 1
    return sent


def _notice(notifier: Notifier, event: Event) -> Notice | None:
    made = about(
        event.kind,
        event_id=event.id,
        at=event.at,
        subject=event.subject,
        release=event.release_id or "",
        detail=event.detail,
    )
    model = str(event.detail.get("model") or "")
    return made if made is not None and notifier.wants(made, model) else None


def _send(state: State, notifier: Notifier, progress: NotifierProgress, event: Event, notice: Notice) -> bool:
    """Whether it was sent, and so recorded."""
    try:
        notifier.sender.send(notice)
    except SyncdError as error:
        _record_failure(state, notifier, progress, event, notice, error)
        return False
    _advance(state, notifier, event.id)
    return True


def _advance(state: State, notifier: Notifier, event_id: int) -> None:
    with state.write() as conn:
        notifications.advance(conn, notifier.name, event_id, state.now(conn))


def _record_failure(
    state: State, notifier: Notifier, progress: NotifierProgress, event: Event, notice: Notice, error: SyncdError
) -> None:
    is_last = progress.failures + 1 >= FAILURES_MAX
    delay_s = min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2**progress.failures)
    if isinstance(error, Unavailable) and error.retry_after_s is not None:
        delay_s = max(delay_s, error.retry_after_s)
    with state.write() as conn:
        now = state.now(conn)
        if is_last:
            notifications.give_up(conn, DeadLetter(notifier.name, event.id, notice.text, error.message, now))
        else:
            notifications.fail(conn, notifier.name, error.message, now + timedelta(seconds=delay_s))
    about_it = {"notifier": notifier.name, "kind": notice.kind, "error": error.message, "hint": error.hint}
    if is_last:
        log.error("notification.given_up", message="A notification could not be sent and is given up.", **about_it)
    else:
        log.warning("notification.failed", message="A notification could not be sent; it is sent again.", **about_it)
