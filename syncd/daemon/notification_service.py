"""Notifications beside the daemon's work: a thread for each receiver, so that one that hangs delays no other."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import structlog

from syncd.errors import SyncdError
from syncd.reconcile.notifications import Notifier, deliver
from syncd.state.state import State

log = structlog.get_logger("syncd.notifications")

EVERY_S: Final = 2.0
STOP_S: Final = 12.0  # a request in progress ends, so that it is not repeated


class NotificationService:
    """Sends notifications. What is not sent when it stops is sent after the next start."""

    def __init__(self, state: State, notifiers: Sequence[Notifier], every_s: float = EVERY_S) -> None:
        self._state = state
        self._every_s = every_s
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._work,
                args=(replace(each, stopping=self._stopping.is_set),),
                name=f"notify {each.name}",
                daemon=True,
            )
            for each in notifiers
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begin no further request, and wait for those in progress. Repeating it is success."""
        self._stopping.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(STOP_S)

    def _work(self, notifier: Notifier) -> None:
        while not self._stopping.is_set():
            try:
                deliver(self._state, notifier)
            except SyncdError as error:  # the record is unreachable; the events wait
                log.warning(
                    "notification.not_recorded",
                    message="The record could not be reached for notifications; it is tried again.",
                    notifier=notifier.name,
                    error=error.message,
                    hint=error.hint,
                )
            except Exception:  # a loop top: a bug must not end the notifications of a receiver for good
                log.exception("notification.crashed", message="A bug in syncd ended this round of notifications.")
            self._stopping.wait(self._every_s)
