"""`syncd`: the commands put together, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

import click
import typer

from syncd.cli import (
    config,
    db,
    demo,
    health,
    hold,
    local,
    plan,
    publish,
    releases,
    rollback,
    run,
    show,
    status,
    verify,
)
from syncd.cli.exits import Exit, code_of
from syncd.cli.output import Form, Output
from syncd.errors import SyncdError

app = typer.Typer(
    name="syncd",
    help="Bring a model version to every region, prove it, and flip the functions to it as one release.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    rich_markup_mode=None,
)
app.add_typer(config.app, name="config")
app.add_typer(db.app, name="db")
app.add_typer(local.app, name="local")
for command in (
    publish.publish,
    status.status,
    releases.releases,
    show.show,
    plan.plan,
    rollback.rollback,
    hold.hold,
    hold.unhold,
    verify.verify,
    run.run,
    health.health,
    demo.demo,
):
    app.command()(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point: runs a command and exits with a documented code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(_run(given))


def _run(arguments: list[str]) -> int:
    output = Output(_asked_form(arguments))
    try:
        result = app(arguments, standalone_mode=False, prog_name="syncd")
        return int(result) if isinstance(result, int) else Exit.OK
    except SyncdError as error:
        code = code_of(error)
        if {"-v", "--verbose"} & set(arguments) and error.__cause__ is not None:
            traceback.print_exception(error.__cause__, file=sys.stderr)
        output.fail(error, code)
        return code
    except click.exceptions.Abort:
        return Exit.INTERRUPTED
    except click.ClickException as wrong:
        wrong.show()
        return Exit.USAGE
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:  # `syncd releases | head`
        sys.stderr.close()
        return Exit.OK


def _asked_form(arguments: list[str]) -> Form:
    """Known before parsing, so that a wrong command line is told in the form that was asked for."""
    text = " ".join(arguments)
    asked = any(flag in text for flag in ("-o json", "-ojson", "--output json", "--output=json"))
    return Form.JSON if asked else Form.TEXT
