"""`syncd status`: the one screen for 3 a.m."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Final

import typer
from sqlalchemy import Connection

from syncd.artifact.names import parse_model
from syncd.cli.output import Form, moment, tabulate
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, Session, VerboseOption, session
from syncd.errors import NotFound
from syncd.plan.phases import StepState
from syncd.state import freezes, holds, live, processes, releases, steps, versions

if TYPE_CHECKING:
    from rich.console import Console

_LIFTED_BY: Final = {"held": "`syncd unhold {model}` lifts it", "frozen": "`syncd unfreeze` lifts it"}


def status(
    model: Annotated[str | None, typer.Argument(help="Only this model.", show_default=False)] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = Form.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Show what is live where, what is in flight, what is stuck and why, and the command that mends it.

    Example: syncd status sdxl
    """
    with session(config, output, verbose=verbose) as opened:
        wanted = opened.fleet.models() if model is None else (str(parse_model(model)),)
        if model is not None and not opened.fleet.bindings_of(model):
            raise NotFound(f"no binding serves the model {model!r}", hint="`syncd status` lists all models")
        with opened.state.read() as conn:
            found = {
                "daemon": _daemon(conn, opened),
                "live": [row for name in wanted for row in _live(conn, opened, name)],
                "in_flight": [row for name in wanted for row in _in_flight(conn, name)],
                "held": [
                    {"model": h.model, "who": h.who, "why": h.why, "since": h.since}
                    for h in holds.all(conn)
                    if h.model in wanted
                ],
                "frozen": [
                    {"model": f.model, "who": f.who, "why": f.why, "since": f.since, "until": f.until}
                    for f in freezes.all(conn, opened.state.now(conn))
                    if f.model in {freezes.EVERY, *wanted}
                ],
                "quarantined": [
                    {"model": v.model, "version": v.name, "reason": v.quarantined}
                    for name in wanted
                    for v in versions.known(conn, name)
                    if v.quarantined
                ],
                "stalled": [row for name in wanted for row in _stalled(conn, name)],
            }
        opened.output.show(found, lambda console: _text(console, found))


def _daemon(conn: Connection, opened: Session) -> dict[str, object] | None:
    alive = processes.alive(conn, opened.state.now(conn))
    return {"owner": alive[0].owner, "seen_at": alive[0].seen_at} if alive else None


def _live(conn: Connection, opened: Session, model: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for binding in opened.fleet.bindings_of(model):
        recorded = live.get(conn, binding.name)
        version_id = recorded.models.get(model) if recorded else None
        version = versions.get(conn, version_id) if version_id else None
        rows.append(
            {
                "model": model,
                "version": version.name if version else None,
                "digest": version.digest.hex if version else None,
                "region": opened.fleet.regions[binding.runtime],
                "binding": binding.name,
                "function": binding.function,
                "alias": binding.alias,
                "function_version": recorded.function_version if recorded else None,
                "since": recorded.since if recorded else None,
                "release": recorded.release_id if recorded else None,
            }
        )
    return rows


def _in_flight(conn: Connection, model: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for release in releases.unfinished(conn, model):
        waiting = [s for s in steps.of_release(conn, release.id) if s.state is StepState.WAITING and s.reason]
        tried = {s.id: f" (tried {s.failures}×)" if s.failures else "" for s in waiting}
        reasons = [f"{s.kind} {s.subject}: {s.reason}{tried[s.id]}" for s in waiting]
        rows.append(
            {
                "release": release.id,
                "model": model,
                "version": release.ref,
                "rollback": release.rollback,
                "phase": release.phase,
                "since": release.updated_at,
                "reason": "; ".join([release.reason, *reasons]).strip("; "),
                "hint": next((s.hint for s in waiting if s.hint), release.hint),
            }
        )
    return rows


def _stalled(conn: Connection, model: str) -> list[dict[str, object]]:
    """The newest release of the model, where it ended without being live: nothing will happen by itself."""
    latest = releases.latest(conn, model)
    if latest is None or latest.phase.value not in {"stalled", "undone"}:
        return []
    mend = f"mend the cause, then: syncd publish {latest.model}@{latest.ref}"
    hint = f"{latest.hint}; {mend}" if latest.hint else mend
    row = {"release": latest.id, "model": model, "version": latest.ref, "phase": latest.phase}
    return [row | {"since": latest.updated_at, "reason": latest.reason, "hint": hint}]


def _text(console: Console, found: Mapping[str, object]) -> None:
    daemon = found["daemon"]
    console.print(f"daemon: {daemon['owner']}" if isinstance(daemon, dict) else "daemon: none is running", markup=False)
    rows = _rows(found["live"])
    tabulate(
        console,
        ("MODEL", "VERSION", "DIGEST", "REGION", "SERVED BY", "SINCE"),
        [
            (
                r["model"],
                r["version"] or "-",
                str(r["digest"] or "-")[:12],
                r["region"],
                f"{r['function']}:{r['alias']} → {r['function_version'] or '-'}",
                moment(r["since"])[:-4] + "Z" if r["since"] else "-",  # type: ignore[arg-type]
            )
            for r in rows
        ],
    )
    for title, key, line in (
        ("in flight", "in_flight", "{release} {model}@{version} {phase}: {reason}"),
        ("stuck", "stalled", "{release} {model}@{version} {phase}: {reason}"),
        ("on hold", "held", "{model} by {who}: {why}"),
        ("frozen", "frozen", "{model} by {who}: {why}"),
        ("quarantined", "quarantined", "{model}@{version}: {reason}"),
    ):
        for row in _rows(found[key]):
            console.print(f"{title}: {line.format(**row)}".rstrip(": "), markup=False)
            hint = row.get("hint") or _LIFTED_BY.get(key, "").format(**row)
            if hint:
                console.print(f"   to do: {hint}", markup=False)


def _rows(value: object) -> list[dict[str, object]]:
    assert isinstance(value, list)
    return value
