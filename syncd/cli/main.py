"""`syncd`: the command table, and the conversion of an error to a line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from syncd import tuning
from syncd.cli.exit_codes import Exit, code_of
from syncd.cli.output.output import Output, OutputFormat
from syncd.errors import Invalid, SyncdError
from syncd.tuning import share_one_arena

# The base class of command line errors. Typer bundles its own click and exports only subclasses.
_UsageError: Final[Any] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

_SERVER_PARTS: Final = "pip install 'syncd[server]'; or use a daemon elsewhere, with --server"


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """The module of a command and its first help line: known without an import, so that `--help` is fast."""

    module: str
    attribute: str
    line: str


COMMANDS: Final[Mapping[str, CommandEntry]] = {
    "publish": CommandEntry(
        "publish", "publish", "Release a version: copy it to every region, prove it, and serve it."
    ),
    "status": CommandEntry("status", "status", "Show what is live where, what is in flight, what is stuck and why."),
    "watch": CommandEntry("watch", "watch", "Follow a release, a model, or everything: events as they happen."),
    "releases": CommandEntry("releases", "releases", "List releases, newest first, with how they ended and why."),
    "show": CommandEntry("show", "show", "Show a release with every step and event."),
    "versions": CommandEntry("versions", "versions", "List a model's versions, newest first."),
    "inspect": CommandEntry("inspect", "inspect", "Show a version at its source: files, digests, parameters."),
    "bake": CommandEntry("bake", "bake", "Push an image: a version's files as layers over a base image."),
    "plan": CommandEntry("plan", "plan", "Show what a release would move and flip; change nothing."),
    "advise": CommandEntry("advise", "advise", "Advise where a model should live in each region, and say why."),
    "cost": CommandEntry("cost", "app", "What serving and storing cost."),
    "rollback": CommandEntry("rollback", "rollback", "Roll back to the previous live version everywhere, and hold."),
    "cancel": CommandEntry("cancel", "cancel", "Cancel a release before it moves any alias."),
    "dismiss": CommandEntry("dismiss", "dismiss", "Take a failed release off the status."),
    "retry": CommandEntry("retry", "retry", "Try the waiting steps of a release, or of all, now."),
    "approve": CommandEntry("approve", "approve", "Approve a release that waits for a person."),
    "hold": CommandEntry("hold", "hold", "Hold a model: no automatic release."),
    "unhold": CommandEntry("hold", "unhold", "Lift a hold."),
    "freeze": CommandEntry("freeze", "freeze", "Freeze one model or all: only rollbacks flip."),
    "unfreeze": CommandEntry("freeze", "unfreeze", "Lift a freeze."),
    "drift": CommandEntry("drift", "drift", "List manual changes to functions and aliases."),
    "adopt": CommandEntry("adopt", "adopt", "Take a manual move of an alias into the record."),
    "restore": CommandEntry("adopt", "restore", "Undo manual changes of functions and aliases."),
    "retire": CommandEntry("retire", "retire", "Take a version out of service for good."),
    "gc": CommandEntry("gc", "app", "Remove versions that nothing needs, by the retention rules."),
    "unquarantine": CommandEntry("retire", "unquarantine", "Lift the quarantine of a version."),
    "verify": CommandEntry("verify", "verify", "Compare the world with the record, byte by byte."),
    "repair": CommandEntry("repair", "repair", "Restore deleted or damaged bytes of a version from a good copy."),
    "trust": CommandEntry("trust", "trust", "Show what the trust policy says of what is live, and the waivers."),
    "waive": CommandEntry("trust", "waive", "Let one release of a version's bytes through the trust policy."),
    "unwaive": CommandEntry("trust", "unwaive", "Take a waiver back."),
    "receipt": CommandEntry("receipt", "receipt", "Print the signed receipt of a release, or verify one."),
    "audit": CommandEntry("audit", "app", "Verify the history against its hash chain, and export it."),
    "run": CommandEntry("run", "run", "Run the daemon until SIGTERM."),
    "worker": CommandEntry("worker", "worker", "Run the worker of a region until SIGTERM."),
    "workers": CommandEntry("workers", "app", "Show who serves which region; cordon and drain a worker."),
    "health": CommandEntry("health", "health", "Show whether the daemon and all that it works with is well."),
    "doctor": CommandEntry("doctor", "doctor", "Check everything that syncd needs: each finding with its cure."),
    "ram-policy": CommandEntry("ram_policy", "ram_policy", "Print the RAM policies that this configuration needs."),
    "notifications": CommandEntry("notify", "notifications", "Show what each notifier has sent and given up."),
    "notify": CommandEntry("notify", "app", "Send a test notification."),
    "token": CommandEntry("token", "app", "Create, list and revoke API tokens."),
    "demo": CommandEntry("demo", "demo", "Run a model's whole life on this machine."),
    "bench": CommandEntry("bench", "app", "Measure on this machine."),
    "config": CommandEntry("config", "app", "Write and check the configuration."),
    "db": CommandEntry("db", "app", "The record: create, upgrade, rebuild."),
    "state": CommandEntry("state", "app", "Move the whole record: export it into a file, import it."),
    "local": CommandEntry("local", "app", "OSS and Function Compute on this machine."),
}


class Commands(TyperGroup):
    """The commands by name, each imported on use."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 -- the base class's signature
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 -- the base class's signature
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        found = getattr(import_module(f"syncd.cli.commands.{entry.module}"), entry.attribute)
        if isinstance(found, typer.Typer):
            return typer.main.get_command(found)
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(cmd_name)(found)
        return typer.main.get_command(alone)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 -- the base class's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.line) for name, entry in COMMANDS.items()])


app = typer.Typer(
    name="syncd",
    cls=Commands,
    pretty_exceptions_enable=False,
    add_completion=True,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:  # noqa: FBT001 -- an option's callback
    if wanted:
        from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 -- for this option alone

        try:
            known = version("syncd")
        except PackageNotFoundError:  # run from a source tree
            known = "(not installed)"
        typer.echo(f"syncd {known}")
        raise typer.Exit


@app.callback()
def _syncd(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Bring a model version to every region, prove it, and flip the functions to it as one release.

    Example: syncd publish sdxl@v2 --wait
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point: runs a command and exits with a documented code."""
    share_one_arena()
    tuning.collect_rarely()
    tuning.load_no_pydantic_plugins()
    given = list(sys.argv[1:] if arguments is None else arguments)
    _never_fail_to_print()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, unless a command installs its own handler
    try:
        code = _run(given)
        sys.stdout.flush()
    except BrokenPipeError:  # `syncd releases | head -1`: the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise the interpreter's final flush fails
        code = Exit.OK
    tuning.skip_final_collection()
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    output = Output(_asked_form(arguments))
    verbose = bool({"-v", "--verbose"} & set(arguments))
    try:
        result = app(arguments or ["--help"], standalone_mode=False, prog_name="syncd")
        return int(result) if isinstance(result, int) else Exit.OK
    except SyncdError as error:
        output.fail(error, code_of(error), verbose=verbose)
        return code_of(error)
    except BrokenPipeError:
        raise
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("interrupted\n")
        return Exit.INTERRUPTED
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] in {"syncd", "typer", "rich", "httpx"}:
            raise
        alone = Invalid(f"this command needs a package that is not installed: {error.name}", hint=_SERVER_PARTS)
        alone.__cause__ = error
        output.fail(alone, Exit.USAGE, verbose=verbose)
        return Exit.USAGE
    except OSError as error:  # a full disk, a directory without permission: not a bug
        wrong = Invalid(f"{error.filename or 'this machine'}: {error.strerror or error}")
        wrong.__cause__ = error
        output.fail(wrong, Exit.UNAVAILABLE, verbose=verbose)
        return Exit.UNAVAILABLE
    except _UsageError as wrong:
        return _usage(output, wrong)


def _usage(output: Output, wrong: Any) -> int:
    """Report a wrong command line like every other error."""
    context = getattr(wrong, "ctx", None)
    path = context.command_path if context is not None else "syncd"
    message = str(wrong.format_message()).replace("Value error, ", "")  # without the prefix of pydantic
    if message.startswith("Usage:"):  # `syncd config` alone: the message would be the whole help
        message = f"{path}: expected a command"
    output.fail(Invalid(message, hint=f"`{path} --help` shows what can be given"), Exit.USAGE)
    return Exit.USAGE


def _never_fail_to_print() -> None:
    """Print a question mark for characters that the terminal or locale cannot show."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def _asked_form(arguments: list[str]) -> OutputFormat:
    """The output format, read before parsing, so that a wrong command line is reported in it."""
    text = "\0".join(["", *arguments, ""])
    asked = any(f"\0{flag}\0" in text for flag in ("-o\0json", "-ojson", "--output\0json", "--output=json"))
    return OutputFormat.JSON if asked else OutputFormat.TEXT
