"""A single call that may hang, made in a thread that can be left behind."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from threading import Event
from typing import TypeVar

from syncd.errors import Cancelled, SyncdError
from syncd.transfer.settings import CopySettings
from syncd.transfer.workers.cancel_scope import CancelScope
from syncd.transfer.workers.worker_pool import CallWatch
from syncd.watchdog import calling

T = TypeVar("T")


def abandonable_call(
    where: str, fn: Callable[[], T], settings: CopySettings, stop: Event, *, what: str, patience_s: float = 0.0
) -> T:
    """What `fn` says. It may be silent for `patience_s` beyond what calls may.

    Raises:
        Unavailable: Nothing was heard for too long, or a call to this place hangs from an earlier time.
        Cancelled: `stop` was set, and it did not end by itself soon after.
    """
    halt = CancelScope(stop, settings.leave_s)
    settings.adrift.refuse(where)
    context = copy_context()
    answers: list[T] = []

    def work() -> None:
        try:
            with calling(f"{what} at {where}", patience_s):
                answers.append(context.run(fn))
        except SyncdError as error:
            halt.trip(error)

    with CallWatch(halt, settings.silence_s, settings.adrift) as watch:
        hands = watch.hands(where, 1, halt.is_set, halt.trip)
        hands.submit(work)
        hands.dismiss(halt.has_waited)
    if answers:
        return answers[0]
    raise halt.reason or Cancelled(f"told to stop while {what} at {where}")
