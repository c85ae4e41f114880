"""Which of several places that have the same bytes is the nearest: each is asked for a few, and the clock decides."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Final

from syncd.artifact.manifest import Entry
from syncd.errors import Cancelled, SyncdError
from syncd.logs import Logger
from syncd.transfer.abandonable_call import abandonable_call
from syncd.transfer.settings import CopySettings
from syncd.transfer.sources.producer import SourceReader
from syncd.values.source import Source

_TRIAL_BYTES: Final = 256 << 10  # a few round trips of a connection that has just begun; for 20 places together 5 MiB
_LEAST_S: Final = 0.25  # a source that answers within that is waited for, however quick the first was
_BEHIND: Final = 3.0  # a source that takes so many times as long as the first is not waited for
_POLL_S: Final = 0.1

_log = Logger("syncd.transfer")


def nearest_first(entry: Entry, sources: Mapping[str, Source], settings: CopySettings, stop: Event) -> tuple[str, ...]:
    """All names: the quickest to give the beginning of the file first, then those that were slow or failed, by name.

    The places are asked at the same time. It takes as long as the first of them, and a little more; no longer than
    one may be silent. Nothing that was read is used.

    Raises:
        Cancelled: `stop` was set.
    """
    if len(sources) < 2:
        return tuple(sources)
    over, results = Event(), SimpleQueue[tuple[str, float | None]]()
    for name, source in sorted(sources.items()):
        trial = partial(copy_context().run, _trial(name, entry, source, settings, over))
        report = partial(_report, results, name, trial)
        Thread(target=report, name=f"trial-{name}", daemon=True).start()
    took = _awaited(results, len(sources), settings.silence_s, stop)
    over.set()
    if stop.is_set():
        raise Cancelled("stopped while measuring the sources")
    ranked = sorted(took, key=lambda name: (took[name], name))
    _log.info(
        "sources.measured",
        message="Sources are used in the order of their speed.",
        seconds={name: round(took[name], 4) for name in ranked},
    )
    return (*ranked, *sorted(sources.keys() - took.keys()))


def _trial(name: str, entry: Entry, source: Source, settings: CopySettings, over: Event) -> Callable[[], float | None]:
    """How long the beginning takes from there; None where it cannot be had."""
    once = replace(settings.retry, attempts_max=1)

    def read() -> float:
        began = time.monotonic()
        with SourceReader(entry, source, once, over.wait) as reader:
            reader.fill(memoryview(bytearray(min(entry.size_bytes, _TRIAL_BYTES))))
        return time.monotonic() - began

    def trial() -> float | None:
        try:
            return abandonable_call(name, read, settings, over, what=f"measuring {entry.path}")
        except SyncdError as error:
            if not over.is_set():
                _log.warning("source.not_measured", message="The source did not answer; it is used last.", source=name,
                             error=error.message)  # fmt: skip
            return None

    return trial


def _report(results: SimpleQueue[tuple[str, float | None]], name: str, trial: Callable[[], float | None]) -> None:
    results.put((name, trial()))


def _awaited(
    results: SimpleQueue[tuple[str, float | None]], count: int, patience_s: float, stop: Event
) -> dict[str, float]:
    began, took = time.monotonic(), dict[str, float]()
    until = began + patience_s
    while count and not stop.is_set() and (left_s := until - time.monotonic()) > 0:
        try:
            name, seconds = results.get(timeout=min(left_s, _POLL_S))
        except Empty:
            continue
        count -= 1
        if seconds is None:
            continue
        if not took:
            until = min(until, began + max(_LEAST_S, _BEHIND * (time.monotonic() - began)))
        took[name] = seconds
    return took
