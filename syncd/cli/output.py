"""What commands print: text for people, or with `-o json` one document, or for long work one a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from syncd.errors import SyncdError

_UNBOUNDED = 100_000


class Form(StrEnum):
    """How to print."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True)
class Output:
    """Where and how a command prints. Colours only on a terminal."""

    form: Form

    @property
    def console(self) -> Console:
        """The terminal, or a plain stream; made anew because tests and pipes swap the streams."""
        if sys.stdout.isatty():
            return Console(file=sys.stdout, highlight=False)
        return Console(file=sys.stdout, highlight=False, width=_UNBOUNDED)  # a pipe has no width to wrap at

    def show(self, document: object, text: Callable[[Console], None]) -> None:
        """Print the one result of a command."""
        if self.form is Form.JSON:
            self.line(document)
        else:
            text(self.console)

    def line(self, document: object) -> None:
        """Print one JSON document on one line, at once."""
        sys.stdout.write(json.dumps(document, default=_plain, ensure_ascii=False) + "\n")
        sys.stdout.flush()

    def fail(self, error: SyncdError, code: int) -> None:
        """Say in one line what is wrong, and in a second what to do."""
        if self.form is Form.JSON:
            self.line({"error": error.message, "hint": error.hint, "exit_code": code})
            return
        console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        console.print(f"[red]error:[/red] {escape(error.message)}")
        if error.hint:
            console.print(f"[yellow]hint:[/yellow]  {escape(error.hint)}")


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A plain table; cells are text, never markup."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(escape(str(cell)) for cell in row))
    return made


def size(bytes_: float) -> str:
    """`90.9 MB`: decimal units, as storage is sold and billed."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(bytes_) < 1000 or unit == "GB":
            return f"{bytes_:.0f} {unit}" if unit == "B" else f"{bytes_:.1f} {unit}"
        bytes_ /= 1000
    raise AssertionError


def span(seconds: float) -> str:
    """`4s`, `3m10s`, `2h05m`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def short(text: str, characters: int = 80) -> str:
    """The beginning of a longer text, for a list; `show` has all of it."""
    return text if len(text) <= characters else text[: characters - 1] + "…"


def moment(at: datetime | None) -> str:
    """A time in UTC, to the second."""
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S}Z"


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    return str(value)
