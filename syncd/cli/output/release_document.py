"""A release as text, from the JSON that a daemon answers with."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from syncd.cli import remote
from syncd.cli.output.output import moment_of, size, tabulate

if TYPE_CHECKING:
    from rich.console import Console

_LEFT_OUT: Final = frozenset({"was", "model", "version", "target", "binding", "queue", "hint"})


def release_text(console: Console, found: Mapping[str, Any], server: str, *, left_out: Collection[str] = ()) -> None:
    """Print it for on-call, as `syncd show` beside the record does; events of the kinds `left_out` are not shown."""
    what = "rollback to" if found["rollback"] else "release of"
    head = f"{found['release']}: {what} {found['model']}@{found['version']} is {found['phase']}"
    console.print(head, markup=False, style="bold")
    rollout, left = found.get("rollout"), found.get("left_behind") or ()
    for label, text in (
        ("why:", found["reason"]),
        ("now:", rollout["says"] if rollout else ""),
        ("left:", f"{', '.join(left)}; still to be moved" if left else ""),
        ("to do:", remote.there(found["hint"], server)),
        ("digest:", found["digest"] or ""),
        ("asked:", f"{moment_of(found['created_at'])} by {found['requested_by']}"),
    ):
        if text:
            console.print(f"  {label:<8} {text}", markup=False)
    for columns, rows in (
        (("BINDING", "WAS", "IS TO BE", "STANDS"), [_binding(each) for each in found["bindings"]]),
        (("TARGET", "STANDS", "SIZE"), [_target(each) for each in found["targets"]]),
        (("STEP", "OF", "STATE", "ATTEMPT", "FAILED", "BEGAN", "REASON"), [_step(each) for each in found["steps"]]),
        (("TIME", "EVENT", "OF", "DETAIL"), [_event(e) for e in found["events"] if e["kind"] not in left_out]),
    ):
        if rows:
            console.print()
            tabulate(console, columns, rows)


def _binding(each: Mapping[str, Any]) -> tuple[object, ...]:
    return each["binding"], each["from"] or "-", each["to"] or "-", each["phase"]


def _target(each: Mapping[str, Any]) -> tuple[object, ...]:
    return each["target"], each["phase"], size(each["bytes_total"])


def _step(each: Mapping[str, Any]) -> tuple[object, ...]:
    began = moment_of(each["started_at"])
    named = (each["step"], each["subject"], each["state"], each["attempt"], each["failures"])
    return (*named, began, each["reason"])


def _event(each: Mapping[str, Any]) -> tuple[object, ...]:
    kept = ", ".join(f"{key}={value}" for key, value in each["detail"].items() if key not in _LEFT_OUT and value != "")
    return moment_of(each["at"]), each["kind"], each["subject"], kept
