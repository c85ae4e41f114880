"""`syncd run`: the daemon."""

from __future__ import annotations

import os
import sys

from syncd import logs
from syncd.cli.exits import Exit
from syncd.cli.output import Form
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption
from syncd.config import load
from syncd.daemon.process import Process, settings_of, stopped_by_signals
from syncd.engine import lock
from syncd.state import upgrade
from syncd.state.state import State
from syncd.wiring import rooms_of


def run(config: ConfigOption = DEFAULT_CONFIG, output: OutputOption = Form.TEXT, verbose: VerboseOption = False) -> int:
    """Run the daemon: poll registries, carry releases, until SIGTERM.

    SIGTERM drains: no step is begun, running ones stop between two effects, nothing is left half-recorded. A
    kill -9 is survived as well: the next start goes on where the record stands. Logs go to standard error, as
    JSON when that is not a terminal or with -o json.

    Example: syncd run -c /etc/syncd/config.toml
    """
    logs.configure(
        json=True if output is Form.JSON or not sys.stderr.isatty() else None, level="DEBUG" if verbose else "INFO"
    )
    loaded = load(config, os.environ)
    url = loaded.state.connect_url.render_as_string(hide_password=False)
    upgrade.check(url)
    with lock.hold(url):
        state = State(url)
        try:
            process = Process(rooms_of(loaded, state), settings_of(loaded, polls=True), sole=True)
            with stopped_by_signals(process):
                process.run()
        finally:
            state.close()
    return Exit.OK
