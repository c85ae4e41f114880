"""Session of a command: the configuration, the record, and the output."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.output.output import Output, OutputFormat

if TYPE_CHECKING:  # each command pays for what it uses, and `--help` for nothing
    from syncd.config import Config
    from syncd.plan.topology import Topology
    from syncd.reconcile.context import World
    from syncd.reconcile.requests.operations import Requester
    from syncd.state.state import State

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", envvar="SYNCD_CONFIG", help="The configuration file.", show_default=True)
]
OutputOption = Annotated[OutputFormat, typer.Option("--output", "-o", help="text for people, json for programs.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Print more on standard error, including causes.")]
DEFAULT_CONFIG = Path("/etc/syncd/config.toml")


@dataclass(frozen=True)
class CliSession:
    """Session of one command."""

    config: Config
    output: Output
    read_from: World  # its registries, targets and runtimes are created on first use
    verbose: bool

    @property
    def state(self) -> State:
        """The record."""
        return self.read_from.state

    @property
    def topology(self) -> Topology:
        """The topology of the configuration."""
        return self.read_from.topology

    @property
    def requester(self) -> Requester:
        """The requester that stands for the user of the command."""
        from syncd.reconcile.requests.operations import Requester  # noqa: PLC0415 -- `status` requests nothing
        from syncd.values.shown_text import printable  # noqa: PLC0415

        return Requester(self.read_from, printable(f"{_user()}@{socket.gethostname()}"))

    def world(self) -> World:
        """The world, for a command that reads more than the record. Configures logs: stores and targets write some."""
        set_up_logs(self.config, verbose=self.verbose)
        return self.read_from


def settings(config: Path, *, verbose: bool) -> Config:
    """Read the configuration; `verbose` configures logs too. Raises ConfigProblems with every problem."""
    from syncd.config import load  # noqa: PLC0415

    loaded = load(config, os.environ)
    if verbose:
        set_up_logs(loaded, verbose=True)
    return loaded


def set_up_logs(config: Config, *, verbose: bool) -> None:
    """Send the logs of a command to standard error: only errors, or with `verbose` everything."""
    from syncd import logs  # noqa: PLC0415 -- a command that only reads the record logs nothing

    logs.configure(level="INFO" if verbose else "ERROR", secrets=config.secrets())


@contextmanager
def session(config: Path, output: OutputFormat, *, verbose: bool) -> Iterator[CliSession]:
    """Open the record for one command; it is closed at the end.

    Raises:
        Invalid: The configuration is wrong, or the record's schema is missing or behind.
        Unavailable: The database does not answer.
    """
    from syncd.state import schema_version  # noqa: PLC0415 -- SQLAlchemy: only for commands that open the record
    from syncd.state.state import State  # noqa: PLC0415
    from syncd.wiring import world_of  # noqa: PLC0415

    loaded = settings(config, verbose=verbose)
    url = loaded.state.connect_url.render_as_string(hide_password=False)
    state = State(url)
    try:
        schema_version.check(state)
        yield CliSession(loaded, Output(output), world_of(loaded, state), verbose)
    finally:
        state.close()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        return str(os.getuid())
