"""Refused callers, as `status` and `health` print them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from syncd.cli.output.output import moment_of

if TYPE_CHECKING:
    from rich.console import Console


def refused_text(console: Console, refused: Mapping[str, Any] | None) -> None:
    """Print the refused callers of the last hour, if there are any."""
    if refused is None:
        return
    console.print(f"refused: {refused['total']} requests in the last hour", markup=False)
    for each in refused["callers"]:
        who = f"{each['name']}@{each['address']}" if each["name"] else each["address"]
        said = f"   {who} {each['count']}×, last {moment_of(each['last_at'])}: {each['reason']}"
        console.print(said, markup=False)
