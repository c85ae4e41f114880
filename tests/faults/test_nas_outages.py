"""A NAS that is full, read-only or failing for a while: the release waits with the reason, and goes on by itself."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from syncd.plan.phases import StepKind
from syncd.state.releases import steps
from syncd.state.state import State
from syncd.store.nas import posix

from tests.faults.play import release
from tests.support.directories import quick_directory
from tests.support.fleet import Fleet

OUTAGE_S = 4.0


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with quick_directory() as home:
        made = Fleet(home, policy={"step_failures_max": 100})  # its waits are short, so it fails often in two seconds
        made.make()
        made.deliver("v1")
        try:
            yield made
        finally:
            made.stop()


class _FailingOs:
    """`os` whose `open` for writing, and with EIO for reading too, fails until a moment."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.until_s: float | None = None  # from the first call that fails on
        self.hits = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: str | Path, flags: int, *arguments: int, dir_fd: int | None = None) -> int:
        is_hit = self.number == errno.EIO or flags & os.O_CREAT
        if is_hit:
            self.until_s = self.until_s or time.monotonic() + OUTAGE_S
            if time.monotonic() < self.until_s:
                self.hits += 1
                raise OSError(self.number, os.strerror(self.number))
        return os.open(path, flags, *arguments, dir_fd=dir_fd)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO], ids=errno.errorcode.get)
def test_a_nas_that_fails_for_seconds_holds_a_release_up_and_no_more(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    failing = _FailingOs(number)
    monkeypatch.setattr(posix, "os", failing)
    told = release(fleet, "v1")
    assert (told.phase, told.reason) == ("live", "")
    assert told.seconds > OUTAGE_S
    assert failing.hits > 3
    state = State(fleet.url)
    try:
        with state.read() as conn:
            placing = [step for step in steps.of_release(conn, "r-1") if step.kind is StepKind.PLACE]
    finally:
        state.close()
    assert all(step.reason == "" for step in placing)
