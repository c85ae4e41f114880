"""Abandonable call: one call that may hang, made in a thread that can be abandoned."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from threading import Event
from typing import TypeVar

from syncd.errors import Cancelled, SyncdError
from syncd.transfer.settings import CopySettings
from syncd.transfer.workers.worker_pool import CallWatch, CancelScope
from syncd.watchdog import calling

T = TypeVar("T")


def abandonable_call(
    where: str, fn: Callable[[], T], settings: CopySettings, stop: Event, *, what: str, patience_s: float = 0.0
) -> T:
    """Return what `fn` returns. It may be silent for `patience_s` longer than other calls.

    Raises:
        Unavailable: Nothing was heard for too long, or a call to this place hangs from an earlier time.
        Cancelled: `stop` was set, and it did not end by itself soon after.
    """
    scope = CancelScope(stop, settings.grace_s)
    settings.leaked_threads.refuse(where)
    context = copy_context()
    answers: list[T] = []

    def work() -> None:
        try:
            with calling(f"{what} at {where}", patience_s):
                answers.append(context.run(fn))
        except SyncdError as error:
            scope.cancel(error)

    with CallWatch(scope, settings.silence_s, settings.leaked_threads) as watch:
        workers = watch.workers(where, 1, scope, scope.cancel)
        workers.submit(work)
        workers.close(scope.is_grace_over)
    if answers:
        return answers[0]
    raise scope.reason or Cancelled(f"stopped while {what} at {where}")
