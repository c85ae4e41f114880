"""`syncd workers`: who serves which region; `cordon`, `uncordon` and `drain`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from syncd.cli.output.output import Output, OutputFormat, moment, tabulate
from syncd.cli.session import DEFAULT_CONFIG, CliSession, ConfigOption, OutputOption, VerboseOption, session

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import Console

    from syncd.state.access.workers import FleetMember

NameArgument = Annotated[str, typer.Argument(help="A worker of `syncd workers`.", show_default=False)]
app = typer.Typer(
    help="Show who serves which region; cordon and drain a worker.",
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def workers(
    context: typer.Context,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Show controllers and workers: who serves what, since when, with which version, and when it was last heard of.

    A process without a word for longer than policy.lease_s is silent: its steps go on elsewhere.

    Example: syncd workers
    """
    if context.invoked_subcommand is not None:
        return
    with session(config, output, verbose=verbose) as opened:
        rows = _documents(opened)
        unserved = _unserved(opened, rows)

    def tell(console: Console) -> None:
        columns = ("NAME", "ROLE", "REGION", "STATE", "RUNS", "VERSION", "SINCE", "LAST WORD")
        cells = [
            (row["name"], row["role"], row["region"], row["state"], row["load"], row["version"], moment(row["since"]),
             moment(row["seen_at"]))
            for row in rows
        ]  # fmt: skip
        tabulate(console, columns, cells)
        for row in rows:
            for queue, fault in row["faults"].items():
                console.print(f"{row['name']} does not serve {queue}: {fault}", markup=False)
        for queue in unserved:
            console.print(f"nobody serves {queue}: its steps wait", markup=False)

    Output(output).show({"workers": rows, "unserved": unserved}, tell)


@app.command("cordon")
def cordon(
    name: NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Let a worker begin nothing more. What it runs goes on to its end; the cordon outlives a restart of the worker.

    Example: syncd workers cordon machine-7-cn-shanghai
    """
    _ask(name, config, output, verbose=verbose, cordoned=True, draining=False)


@app.command("uncordon")
def uncordon(
    name: NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Let a worker work again. It succeeds if nothing was asked of it.

    Example: syncd workers uncordon machine-7-cn-shanghai
    """
    _ask(name, config, output, verbose=verbose, cordoned=False, draining=False)


@app.command("drain")
def drain(
    name: NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Cordon a worker, and have what it runs stop between two effects: another process goes on with it.

    Example: syncd workers drain machine-7-cn-shanghai
    """
    _ask(name, config, output, verbose=verbose, cordoned=True, draining=True)


def _ask(name: str, config: Any, output: OutputFormat, *, verbose: bool, cordoned: bool, draining: bool) -> None:
    from syncd.state.access import workers as record  # noqa: PLC0415 -- the record: not for --help

    with session(config, output, verbose=verbose) as opened, opened.state.write() as conn:
        now = opened.state.now(conn)
        asked = record.ask(conn, name, opened.requester.who, now, cordoned=cordoned, draining=draining)
        load = record.loads(conn).get(asked.owner, 0)
        found = _document(asked, load, now, opened.config.policy.lease_s)
    text = f"{name} is {'draining' if draining else 'cordoned' if cordoned else 'no longer cordoned'}"
    Output(output).show(found, lambda console: console.print(f"{text}; it runs {load} steps", markup=False))


def _documents(opened: CliSession) -> list[dict[str, Any]]:
    from syncd.state.access import workers as record  # noqa: PLC0415 -- the record: not for --help

    with opened.state.read() as conn:
        now, loads = opened.state.now(conn), record.loads(conn)
        lease_s = opened.config.policy.lease_s
        return [_document(each, loads.get(each.owner, 0), now, lease_s) for each in record.every(conn)]


def _document(member: FleetMember, load: int, now: datetime, lease_s: float) -> dict[str, Any]:
    return {
        "name": member.name,
        "role": member.role,
        "region": member.region,
        "state": _state(member, now, lease_s),
        "queues": list(member.queues),
        "faults": dict(member.faults),
        "load": load,
        "version": member.version,
        "protocol": member.protocol,
        "owner": member.owner,
        "since": member.since,
        "seen_at": member.seen_at,
        "cordoned": member.cordoned,
        "draining": member.draining,
    }


def _state(member: FleetMember, now: datetime, lease_s: float) -> str:
    if not member.owner:
        return "stopped, cordoned"
    if (now - member.seen_at).total_seconds() > lease_s:
        return "silent"
    if member.role != "worker":
        return "active" if member.active else "stand-by"
    if member.draining:
        return "draining"
    return "cordoned" if member.cordoned else "serving"


def _unserved(opened: CliSession, rows: list[dict[str, Any]]) -> list[str]:
    """The queues of regions that wait for a worker: where a controller of the role `controller` leaves them to one."""
    from syncd.plan.routing import queues_in  # noqa: PLC0415 -- not for --help

    if not any(row["role"] == "controller" and row["state"] == "active" for row in rows):
        return []
    served = {queue for row in rows if row["state"] == "serving" for queue in row["queues"]}
    topology = opened.topology
    wanted = {queue for region in topology.regions.values() for queue in queues_in(topology, region)}
    return sorted(wanted - served)
