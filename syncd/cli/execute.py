"""A release that this machine asked for beside the record, seen through: done here, or followed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from syncd.cli.exit_codes import Exit
from syncd.cli.output.watch import ended_well, follow
from syncd.cli.session import CliSession, set_up_logs
from syncd.engine import lock
from syncd.errors import Conflict
from syncd.plan.phases import RELEASE_ENDS
from syncd.reconcile.views.release import document, load
from syncd.state.records import Release


@dataclass(frozen=True, slots=True)
class ReleaseWatch:
    """How a release is watched until it ends."""

    opened: CliSession
    timeout_s: float  # 0: without limit
    going_back: bool

    def until_it_ends(self, release: Release, *, leave: threading.Event | None = None) -> int:
        """Show it; the exit code. Raises NotLive where it ended otherwise than it was to."""
        deadline = time.monotonic() + self.timeout_s if self.timeout_s else None

        def proceed() -> bool:
            return not (leave is not None and leave.is_set()) and (deadline is None or time.monotonic() < deadline)

        output = self.opened.output
        scene = follow(self.opened.state, release.id, output, proceed=proceed)
        ended_well(scene, going_back=self.going_back)
        phase = scene.release.phase
        output.show(
            {"event": "end", **document(scene)},
            lambda console: console.print(f"{release.id} {release.model}@{release.ref} is {phase}", markup=False),
        )
        if phase in RELEASE_ENDS:
            return Exit.OK
        return Exit.INTERRUPTED if leave is not None and leave.is_set() else Exit.TIMEOUT


def execute(
    opened: CliSession, ask: Callable[[], Release], *, wait: bool, timeout_s: float, going_back: bool = False
) -> int:
    """Record a request and watch it: the work is done here when no daemon works on this record."""
    watch = ReleaseWatch(opened, timeout_s, going_back)
    with ExitStack() as stack:
        try:
            stack.enter_context(lock.hold(opened.config.state.connect_url.render_as_string(hide_password=False)))
            alone = True
        except Conflict:  # a daemon is at work on this record
            alone = False
        release = ask()
        if alone:
            return _work(watch, release)
        if not wait:
            scene = load(opened.state, release.id)
            opened.output.show(document(scene), lambda console: console.print(f"{release.id} is {scene.release.phase}"))
            return Exit.OK
        return watch.until_it_ends(release)


def _work(watch: ReleaseWatch, release: Release) -> int:
    """Do the work in this process, while showing it."""
    from syncd.daemon.process import Process, settings_of, stopped_by_signals  # noqa: PLC0415 -- only where no
    from syncd.wiring import context_of  # noqa: PLC0415 -- daemon does the work

    opened = watch.opened
    set_up_logs(opened.config, verbose=opened.verbose)
    context = context_of(opened.config, opened.state)
    process = Process(context, settings_of(opened.config, polls=False), sole=True)
    done = threading.Event()
    result: list[int] = []

    def look_on() -> None:
        try:
            result.append(watch.until_it_ends(release, leave=context.draining))
        except BaseException as error:  # noqa: BLE001 -- carried over to the main thread, raised there
            failures.append(error)
        finally:
            done.set()
            context.wake.set()

    failures: list[BaseException] = []
    watcher = threading.Thread(target=look_on, name="follow", daemon=True)
    with stopped_by_signals(process):
        watcher.start()
        process.run(until=done.is_set)
    watcher.join()
    if failures:
        raise failures[0]
    return result[0]
