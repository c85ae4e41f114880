"""A text that is drawn again every second on a terminal, until Ctrl-C."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NoReturn

from syncd.cli.output.output import Output

if TYPE_CHECKING:
    from rich.console import Console

WATCH_EVERY_S: Final = 1.0


def redraw(output: Output, draw: Callable[[Console], None]) -> NoReturn:
    """Draw in place on the terminal, in its width. Ends by Ctrl-C only, or by what `draw` raises."""
    from rich.live import Live  # noqa: PLC0415 -- rich, on a terminal only
    from rich.text import Text  # noqa: PLC0415

    from syncd.cli.output.tables import Terminal  # noqa: PLC0415

    console = output.console
    with Live(console=console, auto_refresh=False) as screen:
        while True:
            paper = io.StringIO()  # a console of its own: what the live one prints is drawn above the live part
            draw(Terminal(file=paper, highlight=False, width=console.width, force_terminal=True))
            screen.update(Text.from_ansi(paper.getvalue().rstrip("\n")), refresh=True)
            time.sleep(WATCH_EVERY_S)
