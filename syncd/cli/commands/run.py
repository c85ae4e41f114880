"""`syncd run`: the daemon."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from syncd.cli.exit_codes import Exit
from syncd.cli.output.output import OutputFormat
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption

if TYPE_CHECKING:
    from syncd.config import Config
    from syncd.daemon.health import Health
    from syncd.daemon.process import Service
    from syncd.reconcile.context import Context


def run(
    config: ConfigOption = DEFAULT_CONFIG, output: OutputOption = OutputFormat.TEXT, verbose: VerboseOption = False
) -> int:
    """Run the daemon: poll registries, execute releases, serve the API where it is configured, until SIGTERM.

    SIGTERM drains: no step is started, running ones stop between two effects, nothing is left half-recorded. After
    a kill -9 the next start resumes from the record. Logs go to standard error, as
    JSON when that is not a terminal or with -o json.

    Example: syncd run -c /etc/syncd/config.toml
    """
    from syncd import logs  # noqa: PLC0415 -- `run --help` needs none of what follows
    from syncd.config import load  # noqa: PLC0415
    from syncd.daemon.process import Process, stopped_by_signals  # noqa: PLC0415
    from syncd.daemon.settings import settings_of  # noqa: PLC0415
    from syncd.engine import lock  # noqa: PLC0415
    from syncd.state import schema_version  # noqa: PLC0415
    from syncd.state.state import State  # noqa: PLC0415
    from syncd.wiring import context_of  # noqa: PLC0415

    loaded = load(config, os.environ)
    as_json = output is OutputFormat.JSON or not sys.stderr.isatty()
    logs.configure(json=as_json, level="DEBUG" if verbose else "INFO", secrets=loaded.secrets())
    state = State(loaded.state.connect_url.render_as_string(hide_password=False))
    try:
        schema_version.check(state)
        url = state.url.render_as_string(hide_password=False)
        # A command that works here for its own release gives way once this is announced.
        give_way_s = loaded.policy.drain_s + lock.GIVE_WAY_S
        with (
            lock.announce(url, lock.Claimant.DAEMON) as announced,
            lock.hold(url, wait_s=give_way_s) as held,
        ):
            context = context_of(loaded, state)

            def check_locks() -> None:
                announced.check()
                held.check()

            process = Process(context, settings_of(loaded, polls=True), sole=True, check_lock=check_locks)
            with stopped_by_signals(process):
                process.run(beside=_beside(loaded, context, process.health))
    finally:
        state.close()
    return Exit.OK


def _beside(config: Config, context: Context, pulse: Health) -> list[Service]:
    from syncd.daemon.notification_service import NotificationService  # noqa: PLC0415
    from syncd.wiring import notifiers_of  # noqa: PLC0415

    notifying: list[Service] = [NotificationService(context.state, notifiers_of(config))] if config.notify else []
    if not config.api.listen:
        return notifying
    from syncd.api.server import api_of  # noqa: PLC0415 -- the web server: only where it is configured

    if not config.ui.enabled:
        return [*notifying, api_of(config, context, pulse)]
    from syncd.ui.routes import routes_of  # noqa: PLC0415

    return [*notifying, api_of(config, context, pulse, routes_of())]
