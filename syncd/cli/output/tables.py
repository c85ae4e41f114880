"""Tables for people: columns where they fit, one cell a line where the terminal is too narrow for that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NoReturn

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_GAP: Final = 2
_FOLDABLE: Final = 24  # a cell wider than this may be folded: reasons, details


class Terminal(Console):
    """A console that leaves a closed pipe to the entry point: rich's own would end the process with 1."""

    def on_broken_pipe(self) -> NoReturn:
        """Called inside rich's handler."""
        raise BrokenPipeError


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A plain table; cells are text, never markup."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(escape(str(cell)) for cell in row))
    return made


def tabulate(console: Console, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows: as a table, or as a block of `COLUMN  cell` lines for each row where a table would be shredded."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(column), *(len(row[n]) for row in cells), 0) for n, column in enumerate(columns)]
    if sum(min(width, _FOLDABLE) for width in widths) + _GAP * (len(columns) - 1) <= console.width:
        console.print(table(columns, cells))
        return
    label = max(map(len, columns))
    for row in cells:
        for column, cell in zip(columns, row, strict=True):
            if cell.strip():
                console.print(f"{column:<{label}}  {cell}", markup=False)
        console.print()
