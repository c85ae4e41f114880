"""A text that is drawn again: each frame is the text alone, and takes the place of the one before."""

from __future__ import annotations

import os
import pty
import threading
from collections.abc import Callable

import pytest
from rich.console import Console
from syncd.cli.output.output import Output, OutputFormat, left
from syncd.cli.output.screen import redraw

FRAMES = 4


def drawn(monkeypatch: pytest.MonkeyPatch, draw: Callable[[Console, int], None]) -> str:
    """What a terminal of 100 columns gets of some frames, and then Ctrl-C."""
    master, slave = pty.openpty()
    got: list[bytes] = []

    def read() -> None:
        while True:
            try:
                data = os.read(master, 4096)
            except OSError:
                return
            if not data:
                return
            got.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    count = 0

    def each(console: Console) -> None:
        nonlocal count
        if count == FRAMES:
            raise KeyboardInterrupt
        count += 1
        draw(console, count)

    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "40")
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr("sys.stdout", terminal)
        monkeypatch.setattr("syncd.cli.output.screen.WATCH_EVERY_S", 0.0)
        with pytest.raises(KeyboardInterrupt):
            redraw(Output(OutputFormat.TEXT), each)
        monkeypatch.undo()
    reader.join()
    os.close(master)
    return b"".join(got).decode()


def test_each_frame_has_each_line_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(console: Console, count: int) -> None:
        console.print("first line", markup=False)
        console.print(f"frame {count}", style="bold")

    text = drawn(monkeypatch, draw)
    assert [text.count(f"frame {n}") for n in range(1, FRAMES)] == [1] * (FRAMES - 1)
    assert text.count("first line") <= FRAMES + 1, "the last one stays on the terminal"
    assert "\x1b[1m" in text, "styles are kept"
    assert text.rstrip().endswith("\x1b[?25h"), "the cursor is shown again"


@pytest.mark.parametrize(
    ("seconds", "shown"), [(None, ""), (0.0, ", 0s left"), (190.0, ", 3m10s left"), (10_609_980.0, "")]
)
def test_a_rest_that_only_says_that_little_was_sent_is_not_shown(seconds: float | None, shown: str) -> None:
    assert left(seconds) == shown
