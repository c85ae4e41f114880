"""Execution of a release that a command requested: in this process while no daemon runs, or watched."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Final

from syncd.cli.attended import tell_what_goes_on, warn_unattended
from syncd.cli.exit_codes import Exit
from syncd.cli.output.output import span
from syncd.cli.output.watch import ended_well, follow
from syncd.cli.session import CliSession, set_up_logs
from syncd.engine import lock
from syncd.errors import Conflict
from syncd.plan.phases import RELEASE_ENDS
from syncd.reconcile.views.release import document, load
from syncd.state.records import Release
from syncd.state.releases import releases

_TURN_S: Final = 0.5  # between two attempts to get the record's lock, and between two checks for other claimants


@dataclass(frozen=True, slots=True)
class ReleaseWatch:
    """Options for watching a release until it ends."""

    opened: CliSession
    deadline: float | None  # of the monotonic clock; None: without limit
    going_back: bool

    @property
    def url(self) -> str:
        """The URL of the record."""
        return self.opened.config.state.connect_url.render_as_string(hide_password=False)

    def until_it_ends(
        self, release: Release, *, leave: threading.Event | None = None, gave_way: threading.Event | None = None
    ) -> int | None:
        """Show it; returns the exit code, or None if this process gave way. Raises ReleaseNotLive if it failed."""

        def proceed() -> bool:
            return not (leave is not None and leave.is_set()) and not self.is_over()

        output = self.opened.output
        scene = follow(self.opened.state, release.id, output, proceed=proceed)
        ended_well(scene, going_back=self.going_back)
        phase = scene.release.phase
        if phase not in RELEASE_ENDS and gave_way is not None and gave_way.is_set():
            return None
        output.show(
            {"event": "end", **document(scene)},
            lambda console: console.print(f"{release.id} {release.model}@{release.ref} is {phase}", markup=False),
        )
        if phase in RELEASE_ENDS:
            return Exit.OK
        return Exit.INTERRUPTED if leave is not None and leave.is_set() and not self.is_over() else Exit.TIMEOUT

    def is_over(self) -> bool:
        """Whether the time that the command may take is over."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def has_ended(self, release: Release) -> bool:
        """Whether there is nothing left to do for the release."""
        return load(self.opened.state, release.id).release.phase in RELEASE_ENDS


def execute(
    opened: CliSession, ask: Callable[[], Release], *, wait: bool, timeout_s: float, going_back: bool = False
) -> int:
    """Record a request, and execute or watch its release.

    If a daemon works on this record, it does the work, and `wait` watches it. Without one this process does the work,
    one such command at a time; a rollback goes first. It works on its own release and on those that it depends on. It
    gives way to a daemon, and prints what it leaves.
    """
    deadline = time.monotonic() + timeout_s if timeout_s else None
    watch = ReleaseWatch(opened, deadline, going_back)
    release = ask()
    with ExitStack() as stack:
        if going_back:
            with suppress(Conflict):  # another rollback makes the others give way already
                stack.enter_context(lock.announce(watch.url, lock.Claimant.ROLLBACK))
        try:
            code = _see_through(watch, release, wait=wait)
        except KeyboardInterrupt:  # while another process works: only this command ends
            code = Exit.INTERRUPTED
    if code == Exit.INTERRUPTED:
        tell_what_goes_on(opened, release, "interrupted")
    elif code == Exit.TIMEOUT:
        tell_what_goes_on(opened, release, f"timed out after {span(timeout_s)}")
    return code


def watch_release(opened: CliSession, release_id: str) -> int:
    """Watch a release that others work on, until it ends or Ctrl-C. Raises NotFound; ReleaseNotLive if it failed."""
    release = load(opened.state, release_id).release
    warn_unattended(opened, release_id)
    try:
        return ReleaseWatch(opened, None, going_back=True).until_it_ends(release) or Exit.OK
    except KeyboardInterrupt:
        tell_what_goes_on(opened, release, "interrupted")
        return Exit.INTERRUPTED


def _see_through(watch: ReleaseWatch, release: Release, *, wait: bool) -> int:
    is_noted = False
    while not lock.is_announced(watch.url, lock.Claimant.DAEMON):
        with ExitStack() as stack:
            try:
                held: lock.RecordLock | None = stack.enter_context(lock.hold(watch.url))
            except Conflict:
                held = None
            code = _work(watch, release, held) if held is not None else None
        if code is not None:
            return code
        if watch.is_over() or watch.has_ended(release):
            return watch.until_it_ends(release) or Exit.OK
        if not is_noted:
            watch.opened.output.note(f"{release.id} waits: another command, or a rollback, works on this record first")
            is_noted = True
        follow(watch.opened.state, release.id, watch.opened.output, proceed=_until_its_turn(watch))
    if wait:
        return watch.until_it_ends(release) or Exit.OK
    opened = watch.opened
    scene = load(opened.state, release.id)
    opened.output.show(document(scene), lambda console: console.print(f"{release.id} is {scene.release.phase}"))
    return Exit.OK


def _until_its_turn(watch: ReleaseWatch) -> Callable[[], bool]:
    """Whether to keep waiting: no daemon runs, and another process holds the record."""
    asked_at = time.monotonic()

    def proceed() -> bool:
        nonlocal asked_at
        if time.monotonic() < asked_at + _TURN_S:
            return not watch.is_over()
        asked_at = time.monotonic()
        if watch.is_over() or lock.is_announced(watch.url, lock.Claimant.DAEMON):
            return False
        try:
            with lock.hold(watch.url):
                return False
        except Conflict:
            return True

    return proceed


def _gives_way(watch: ReleaseWatch) -> Callable[[], bool]:
    """Whether to yield the record to a daemon or to another command's rollback; checks at most twice a second."""
    wanted = [lock.Claimant.DAEMON, *(() if watch.going_back else (lock.Claimant.ROLLBACK,))]
    asked_at = time.monotonic()

    def gives_way() -> bool:
        nonlocal asked_at
        if time.monotonic() < asked_at + _TURN_S:
            return False
        asked_at = time.monotonic()
        return any(lock.is_announced(watch.url, claimant) for claimant in wanted)

    return gives_way


def _work(watch: ReleaseWatch, release: Release, held: lock.RecordLock) -> int | None:
    """Do the work in this process, and show its progress. None if it gave way before the release ended."""
    from syncd.daemon.process import Process, stopped_by_signals  # noqa: PLC0415 -- only where no
    from syncd.daemon.settings import settings_of  # noqa: PLC0415 -- daemon does the work
    from syncd.wiring import context_of  # noqa: PLC0415

    opened = watch.opened
    opened.output.note(f"no daemon works on this record: this command does the work of {release.id}; Ctrl-C stops it")
    set_up_logs(opened.config, verbose=opened.verbose)
    context = context_of(opened.config, opened.state)
    process = Process(
        context, settings_of(opened.config, polls=False, only=release.id), sole=True, check_lock=held.check
    )
    done, gave_way = threading.Event(), threading.Event()
    gives_way = _gives_way(watch)
    result: list[int | None] = []
    failures: list[BaseException] = []

    def look_on() -> None:
        try:
            result.append(watch.until_it_ends(release, leave=context.draining, gave_way=gave_way))
        except BaseException as error:  # noqa: BLE001 -- carried over to the main thread, raised there
            failures.append(error)
        finally:
            done.set()
            context.wake.set()

    def until() -> bool:
        if not done.is_set() and gives_way():
            gave_way.set()
        return done.is_set() or gave_way.is_set()

    watcher = threading.Thread(target=look_on, name="follow", daemon=True)
    with stopped_by_signals(process):
        watcher.start()
        process.run(until=until)
    watcher.join()
    if not gave_way.is_set():
        _note_left(opened, release)
    if failures:
        raise failures[0]
    return result[0]


def _note_left(opened: CliSession, release: Release) -> None:
    """Say which releases are left to a daemon."""
    with opened.state.read() as conn:
        left = [each for each in releases.unfinished(conn) if each.id != release.id]
    if left:
        names = ", ".join(f"{each.id} {each.model}@{each.ref} ({each.phase})" for each in left)
        opened.output.note(f"left unfinished, no daemon works on this record: {names}; `syncd run` goes on with them")
