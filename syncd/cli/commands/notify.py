"""`syncd notify test`, and `syncd notifications`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.output.output import Output, OutputFormat, moment, tabulate
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session, settings
from syncd.errors import NotFound

if TYPE_CHECKING:
    from rich.console import Console

_DEAD_MAX = 50
app = typer.Typer(help="Send a test notification.", no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Send a test notification."""


@app.command("test")
def send_test(
    name: Annotated[str, typer.Argument(help="A receiver of the configuration.", show_default=False)],
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Send a test notification to one receiver now, and report its answer. Needs no record.

    Exit codes: 0 it was taken, 10 refused, also in the body of a good answer, 7 no answer.

    Example: syncd notify test on-call
    """
    from datetime import UTC, datetime  # noqa: PLC0415

    from syncd.notify.notice import Notice, Severity  # noqa: PLC0415
    from syncd.wiring import notifiers_of  # noqa: PLC0415

    found = {each.name: each for each in notifiers_of(settings(config, verbose=verbose))}
    if name not in found:
        known = f"known: {', '.join(found)}" if found else "add a table [notify.NAME]"
        raise NotFound(f"the configuration has no notifier {name!r}", hint=known)
    now = datetime.now(UTC)
    text = "This is a test of syncd: nothing happened."
    found[name].sender.send(
        Notice(f"syncd-test-{now.timestamp():.0f}", "test", Severity.INFO, now, "syncd", "", text, "syncd status")
    )
    Output(output).show({"notifier": name, "sent": True}, lambda console: console.print(f"{name}: taken", markup=False))


def notifications(
    config: ConfigOption = DEFAULT_CONFIG, output: OutputOption = OutputFormat.TEXT, verbose: VerboseOption = False
) -> None:
    """Show what each notifier has sent and given up.

    A receiver that does not take a notification is tried again, later and later, for about ten hours; then the
    notification is given up and listed here.

    Example: syncd notifications
    """
    from syncd.state.access import notifications as record  # noqa: PLC0415 -- the record: not for --help

    with session(config, output, verbose=verbose) as opened:
        with opened.state.read() as conn:
            known, dead = record.all_progress(conn), record.dead(conn, _DEAD_MAX)

        def tell(console: Console) -> None:
            rows = [
                (
                    each.name,
                    str(each.event_id),
                    str(each.failures),
                    moment(each.due_at) if each.failures else "",
                    each.reason,
                )
                for each in known
            ]
            tabulate(console, ("NOTIFIER", "EVENT", "FAILURES", "NEXT TRY", "REASON"), rows)
            if dead:
                console.print()
                lost = [(each.notifier, moment(each.at), each.text, each.reason) for each in dead]
                tabulate(console, ("GIVEN UP BY", "AT", "NOTIFICATION", "REASON"), lost)

        document = {"notifiers": [asdict(each) for each in known], "dead": [asdict(each) for each in dead]}
        opened.output.show(document, tell)
