"""What every command that touches the record begins with: the configuration, the record, and how to print."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from syncd import logs
from syncd.cli.output import Form, Output
from syncd.config import Config, load
from syncd.plan.fleet import Fleet
from syncd.reconcile.wish import Wisher
from syncd.state import upgrade
from syncd.state.state import State
from syncd.wiring import fleet_of

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", envvar="SYNCD_CONFIG", help="The configuration file.", show_default=True)
]
OutputOption = Annotated[Form, typer.Option("--output", "-o", help="text for people, json for programs.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Log what is done, to standard error.")]
DEFAULT_CONFIG = Path("/etc/syncd/config.toml")


@dataclass(frozen=True)
class Session:
    """One run of one command."""

    config: Config
    output: Output
    state: State
    fleet: Fleet

    @property
    def wisher(self) -> Wisher:
        """In whose name the command asks."""
        return Wisher(self.state, self.fleet, f"{_user()}@{socket.gethostname()}")


def settings(config: Path, *, verbose: bool) -> Config:
    """Read the configuration and set up the logs. Raises ConfigProblems with all that is wrong."""
    logs.configure(level="INFO" if verbose else "ERROR")
    return load(config, os.environ)


@contextmanager
def session(config: Path, output: Form, *, verbose: bool) -> Iterator[Session]:
    """Open the record for one command; it is closed at the end.

    Raises:
        Invalid: The configuration is wrong, or the record's schema is missing or behind.
        Unavailable: The database does not answer.
    """
    loaded = settings(config, verbose=verbose)
    url = loaded.state.connect_url.render_as_string(hide_password=False)
    upgrade.check(url)
    state = State(url)
    try:
        yield Session(loaded, Output(output), state, fleet_of(loaded))
    finally:
        state.close()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        return str(os.getuid())
