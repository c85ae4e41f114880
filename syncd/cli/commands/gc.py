"""`syncd gc` and `syncd gc undo`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syncd.cli import complete
from syncd.cli.output.output import OutputFormat, moment, size
from syncd.cli.session import DEFAULT_CONFIG, CliSession, ConfigOption, OutputOption, VerboseOption, session

if TYPE_CHECKING:
    from rich.console import Console

    from syncd.reconcile.gc.retention import Outlook, PassResult
    from syncd.state.records import Version

app = typer.Typer(add_completion=False, rich_markup_mode=None)

ModelOption = Annotated[
    str | None, typer.Option("--model", help="Only this model.", autocompletion=complete.models, show_default=False)
]


@app.callback(invoke_without_command=True)
def gc(
    context: typer.Context,
    model: ModelOption = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show what is kept and why, and what goes; do nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. Without a terminal nothing is asked.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Mark versions that the rules of [retention] no longer keep, and delete those whose grace period is over.

    What is live, under way, leased, on hold, frozen or the way back of a rollback is kept, and so is what any alias or
    function version leads to: each region is asked again just before a deletion. A marked version serves and is
    repaired like any other until retention.grace is over; `syncd gc undo` keeps it. A daemon does the same by itself.

    Example: syncd gc --plan
    """
    if context.invoked_subcommand is not None:
        return
    with session(config, output, verbose=verbose) as opened:
        _gc(opened, model, plan=plan, yes=yes)


@app.command()
def undo(
    what: Annotated[str, typer.Argument(metavar="MODEL@VERSION|RUN", show_default=False)],
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Keep a version that is marked for removal, or all that one run has marked, within the grace period.

    The rules do not mark it again; `syncd retire` removes it.

    Example: syncd gc undo sdxl@v3
    """
    from syncd.reconcile.gc import retention  # noqa: PLC0415 -- `--help` needs none of it

    with session(config, output, verbose=verbose) as opened:
        kept = retention.undo(opened.read_from, what, opened.requester.who)
        names = [_name(each) for each in kept]
        text = "\n".join(f"{name} is kept: its removal is undone" for name in names)
        opened.output.show({"kept": names}, lambda console: console.print(text, markup=False))


def _gc(opened: CliSession, model: str | None, *, plan: bool, yes: bool) -> None:
    from threading import Event  # noqa: PLC0415 -- as above

    from syncd.reconcile.gc import retention  # noqa: PLC0415

    world = opened.world()
    models = retention.models_of(world, model)
    if not models:
        opened.output.warn("no retention rule selects a served model: nothing is removed; see [retention] in the docs")
    is_asking = not yes and opened.output.form is OutputFormat.TEXT and sys.stdin.isatty() and sys.stdout.isatty()
    if plan or is_asking:
        found = [each for name in models for each in retention.outlook(world, name)]
        document = _plan_document(opened, found)
        opened.output.show(document, lambda console: _plan_text(console, document))
        if plan:
            return
        going = [each for each in document["versions"] if each["state"] in {"remove", "marked"}]
        if not going or not typer.confirm("Mark these versions, and delete those whose time is over?"):
            opened.output.note("nothing is done")
            return
    done = retention.run(world, models, opened.requester.who, Event())
    opened.output.show(_done_document(done), lambda console: console.print("\n".join(_done_lines(done)), markup=False))


def _plan_document(opened: CliSession, found: Sequence[Outlook]) -> dict[str, Any]:
    rows = [_row(each) for each in found]
    freed: dict[str, int] = {}
    for each in found:
        if each.decision.is_removable or each.marked:
            for target, size_bytes in each.bytes_at.items():
                if target not in opened.topology.images:  # images are never deleted
                    freed[target] = freed.get(target, 0) + size_bytes
    costs = [_cost(opened, target, size_bytes) for target, size_bytes in sorted(freed.items())]
    return {"plan": True, "versions": rows, "frees_bytes": sum(freed.values()), "frees": costs}


def _row(each: Outlook) -> dict[str, Any]:
    marked = each.marked if each.decision.is_removable else None
    state = "marked" if marked else "remove" if each.decision.is_removable else "keep"
    return {
        "model": each.version.model,
        "version": each.version.name,
        "state": state,
        "why": list(each.decision.reasons),
        "bytes": dict(sorted(each.bytes_at.items())),
        "run": marked.run if marked else None,
        "deleted_after": marked.due_at if marked else None,
    }


def _cost(opened: CliSession, target: str, size_bytes: int) -> dict[str, Any]:
    """Bytes at a target, and what they cost a month where the price list knows it."""
    from datetime import UTC, datetime  # noqa: PLC0415 -- as above

    from syncd.errors import NotFound  # noqa: PLC0415
    from syncd.reconcile.views.plans.costs import FREED, Reckoning  # noqa: PLC0415

    world = opened.read_from
    row: dict[str, Any] = {"target": target, "bytes": size_bytes, "monthly": "unknown"}
    if target not in world.topology.places:
        return row
    reckoning = Reckoning(world.prices(), world.site, datetime.now(UTC).date(), world.topology)
    try:
        return row | {"monthly": reckoning.cost(target, size_bytes, FREED).monthly.text}
    except NotFound:
        return row


def _plan_text(console: Console, document: dict[str, Any]) -> None:
    for each in document["versions"]:
        until = f" after {moment(each['deleted_after'])} (run {each['run']})" if each["run"] else ""
        said = {"keep": "keep", "remove": "remove", "marked": f"delete{until}"}[each["state"]]
        console.print(f"{each['model']}@{each['version']}: {said}: {'; '.join(each['why'])}", markup=False)
    for each in document["frees"]:
        money = "" if "unknown" in each["monthly"] else f", {each['monthly']} a month"
        console.print(f"frees {size(each['bytes'])} at {each['target']}{money}", markup=False)
    if not document["frees"]:
        console.print("nothing to remove", markup=False)


def _done_document(done: PassResult) -> dict[str, Any]:
    return {
        "run": done.run or None,
        "marked": [_row(each) for each in done.marked],
        "unmarked": [{"version": _name(e.version), "why": list(e.decision.reasons)} for e in done.unmarked],
        "deleted": [_name(each) for each in done.deleted],
        "postponed": [{"version": _name(each), "why": reason} for each, reason in done.postponed],
    }


def _done_lines(done: PassResult) -> list[str]:
    lines = [f"{_name(each)}: deleted" for each in done.deleted]
    lines += [f"{_name(each)}: not deleted: {reason}" for each, reason in done.postponed]
    lines += [f"{_name(e.version)}: kept after all: {'; '.join(e.decision.reasons)}" for e in done.unmarked]
    for each in done.marked:
        until = moment(each.removal.due_at) if each.removal else ""
        lines.append(f"{_name(each.version)}: marked, deleted after {until}: {'; '.join(each.decision.reasons)}")
    if done.run:
        lines.append(f"to keep them: syncd gc undo {done.run}")
    return lines or ["nothing to do"]


def _name(version: Version) -> str:
    return f"{version.model}@{version.name}"
