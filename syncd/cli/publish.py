"""`syncd publish`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from syncd.artifact.names import ModelName, parse_model_at_version
from syncd.cli import remote
from syncd.cli.exits import Exit
from syncd.cli.follow import ended_well, follow
from syncd.cli.output import Form, Output
from syncd.cli.put import put
from syncd.cli.remote import ServerOption, TimeoutOption, TokenFileOption
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, Session, VerboseOption, session, set_up_logs
from syncd.config import DirectoryRegistrySettings
from syncd.engine import lock
from syncd.errors import Conflict, Invalid
from syncd.plan.phases import RELEASE_ENDS
from syncd.reconcile import wish
from syncd.reconcile.scene import document, scene_of
from syncd.state.records import Release
from syncd.wiring import registries_of


def publish(
    model_at_version: Annotated[str, typer.Argument(metavar="MODEL@VERSION", show_default=False)],
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Put this directory into the registry as that version first.", show_default=False),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until the release is live, or has ended otherwise.")
    ] = False,
    timeout: TimeoutOption = 0.0,
    server: ServerOption = "",
    token_file: TokenFileOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = Form.TEXT,
    verbose: VerboseOption = False,
) -> int:
    """Ask for a version to be brought to every region, proven and served.

    With a daemon running the wish is recorded and the daemon does the work: --wait follows it. With none the
    work is done here, by the same code. Asking again for what is under way or live is harmless. With --server a
    daemon elsewhere is asked over HTTP: no configuration is needed, but a token (SYNCD_TOKEN, or --token-file).

    Exit codes: 0 live (or, without --wait, recorded), 4 the model is on hold, 5 ended and not live, 6 timed out.

    Example: syncd publish sdxl@v2 --wait --timeout 1800
    """
    model, version = parse_model_at_version(model_at_version)
    if server:
        if source is not None:
            hint = "let the job write into the registry, then publish without --from"
            raise Invalid("--from writes into a registry of this machine, and --server is another", hint=hint)
        see = remote.See(Output(output), wait=wait, timeout_s=timeout)
        return remote.carry(server, token_file, lambda client: client.publish(model, version), see)
    with session(config, output, verbose=verbose) as opened:
        if source is not None:
            put(source, _drop(opened, model) / model / version)
        wish.refuse_unknown(registries_of(opened.config), opened.fleet, model, version)
        return carry(
            opened,
            lambda: wish.publish(opened.wisher, model, version),
            wait=wait,
            timeout_s=timeout,
        )


def _drop(opened: Session, model: ModelName) -> Path:
    """Where the registry of the model is written to. Raises Invalid where that is not a directory."""
    name = opened.fleet.registry_of(model)
    settings = opened.config.registries[name]
    if not isinstance(settings, DirectoryRegistrySettings):
        hint = "bring the version there with that registry's own tools, then publish it without --from"
        raise Invalid(
            f"--from writes into a directory, registry {name} of {model} is of kind {settings.kind}", hint=hint
        )
    return settings.path


@dataclass(frozen=True, slots=True)
class Watch:
    """How a release is looked at until it ends."""

    opened: Session
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


def carry(
    opened: Session, ask: Callable[[], Release], *, wait: bool, timeout_s: float, going_back: bool = False
) -> int:
    """Record a wish, and see it through: here when no daemon works on this record, else by following the daemon."""
    watch = Watch(opened, timeout_s, going_back)
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
            scene = scene_of(opened.state, release.id)
            opened.output.show(document(scene), lambda console: console.print(f"{release.id} is {scene.release.phase}"))
            return Exit.OK
        return watch.until_it_ends(release)


def _work(watch: Watch, release: Release) -> int:
    """Do the work in this process, while showing it."""
    from syncd.daemon.process import Process, settings_of, stopped_by_signals  # noqa: PLC0415 -- only where no
    from syncd.wiring import rooms_of  # noqa: PLC0415 -- daemon does the work

    opened = watch.opened
    set_up_logs(opened.config, verbose=opened.verbose)
    rooms = rooms_of(opened.config, opened.state)
    process = Process(rooms, settings_of(opened.config, polls=False), sole=True)
    done = threading.Event()
    result: list[int] = []

    def look_on() -> None:
        try:
            result.append(watch.until_it_ends(release, leave=rooms.draining))
        except BaseException as error:  # noqa: BLE001 -- carried over to the main thread, raised there
            failures.append(error)
        finally:
            done.set()
            rooms.wake.set()

    failures: list[BaseException] = []
    watcher = threading.Thread(target=look_on, name="follow", daemon=True)
    with stopped_by_signals(process):
        watcher.start()
        process.run(until=done.is_set)
    watcher.join()
    if failures:
        raise failures[0]
    return result[0]
