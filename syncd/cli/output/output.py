"""Output of commands: text, or with `-o json` one document, or one document per line for long work."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TextIO

from syncd.errors import SyncdError

if TYPE_CHECKING:  # a tenth of a second, which errors and `-o json` do without
    from rich.console import Console

_UNBOUNDED: Final = 100_000
_CAUSES_MAX: Final = 8
_LEFT_MAX_S: Final = 99 * 3600
_RED, _YELLOW, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[0m"


class OutputFormat(StrEnum):
    """Output format."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True)
class Output:
    """Output of one command. Colours only on a terminal."""

    form: OutputFormat

    @property
    def console(self) -> Console:
        """The terminal, or a plain stream; made anew because tests and pipes swap the streams."""
        from syncd.cli.output.tables import Terminal  # noqa: PLC0415 -- see the top

        if sys.stdout.isatty():
            return Terminal(file=sys.stdout, highlight=False)
        return Terminal(file=sys.stdout, highlight=False, width=_UNBOUNDED)  # a pipe has no width to wrap at

    def show(self, document: object, text: Callable[[Console], None]) -> None:
        """Print the one result of a command."""
        if self.form is OutputFormat.JSON:
            self.line(document)
        else:
            text(self.console)

    def line(self, document: object) -> None:
        """Print one JSON document on one line, at once; in ASCII where the stream knows no more."""
        known = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
        sys.stdout.write(json.dumps(document, default=_plain, ensure_ascii=not known) + "\n")
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Print one line on standard error, beside the result."""
        sys.stderr.write(_labelled("note: ", _YELLOW, text))

    def warn(self, text: str) -> None:
        """As `note`, for what may be wrong."""
        sys.stderr.write(_labelled("warning:", _YELLOW, text))

    def fail(self, error: SyncdError, code: int, *, verbose: bool = False) -> None:
        """Print the error on one line and the hint on a second; `verbose` adds each cause on a line."""
        causes = list(_causes(error)) if verbose else []
        if self.form is OutputFormat.JSON:
            more = {"causes": causes} if verbose else {}
            self.line({"error": error.message, "hint": error.hint, "exit_code": int(code), **error.details, **more})
            return
        lines = [_labelled("error:", _RED, error.message)]
        lines += [_labelled("cause:", _YELLOW, cause) for cause in causes]
        lines += [_labelled("hint: ", _YELLOW, error.hint)] if error.hint else []
        sys.stderr.write("".join(lines))


def has_colours(stream: TextIO) -> bool:
    """Whether the stream is a terminal and colours are not disabled (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _labelled(label: str, colour: str, text: str) -> str:
    return f"{colour}{label}{_PLAIN} {text}\n" if has_colours(sys.stderr) else f"{label} {text}\n"


def _causes(error: BaseException) -> Iterator[str]:
    for _ in range(_CAUSES_MAX):
        beneath = error.__cause__
        if beneath is None:
            return
        error = beneath
        yield f"{type(error).__name__}: {' '.join(str(error).split())}"


def tabulate(console: Console, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows in columns, or cell by cell where the terminal is too narrow."""
    from syncd.cli.output import tables  # noqa: PLC0415 -- see the top

    tables.tabulate(console, columns, rows)


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


def left(seconds: float | None) -> str:
    """`, 3m10s left`; empty where it is unknown, or so long that it only says that little was sent yet."""
    return "" if seconds is None or seconds > _LEFT_MAX_S else f", {span(seconds)} left"


def short(text: str, characters: int = 80) -> str:
    """The beginning of a longer text, for a list; `show` has all of it."""
    return text if len(text) <= characters else text[: characters - 1] + "…"


def moment(at: datetime | None) -> str:
    """A time in UTC, to the second."""
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S}Z"


def moment_of(at: datetime | str | None) -> str:
    """As `moment`, for a time from the record or from the API."""
    return "" if at is None else moment(moment_at(at))


def moment_at(at: datetime | str) -> datetime:
    """A time from the record or from the API."""
    return datetime.fromisoformat(at) if isinstance(at, str) else at


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    return str(value)
