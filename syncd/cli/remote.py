"""Commands over HTTP: options for a daemon elsewhere, and the wait for a release there."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from syncd.cli.exit_codes import Exit
from syncd.cli.output.output import Output, OutputFormat
from syncd.errors import Invalid

if TYPE_CHECKING:  # httpx takes a tenth of a second, and most commands contact no server
    from syncd.client import Client, Release

T = TypeVar("T")
TOKEN: Final = "SYNCD_TOKEN"  # noqa: S105 -- the name of a variable
_TIME: Final = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?")
_ONLY_THERE: Final = ("steps", "first_answers", "events")  # of a release's document, for `show`


def duration(text: str) -> float:
    """Seconds: `1800`, `90s`, `30m`, `1h30m`. Raises ValueError."""
    match = _TIME.fullmatch(str(text))
    if match is None or not any(match.groups()):
        raise ValueError(f"expected a time such as 1800, 90s, 30m or 1h30m, got {text!r}")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds


TimeoutOption = Annotated[
    float,
    typer.Option(
        "--timeout", parser=duration, metavar="TIME", help="How long to wait at most: 1800, 90s, 30m; 0 for no limit."
    ),
]
ServerOption = Annotated[
    str, typer.Option("--server", envvar="SYNCD_SERVER", help="Use the daemon at this URL.", show_default=False)
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file", envvar="SYNCD_TOKEN_FILE", help="Where the token is; else SYNCD_TOKEN.", show_default=False
    ),
]


@dataclass
class Display:
    """How a release elsewhere is shown, and for how long."""

    output: Output
    wait: bool
    timeout_s: float
    going_back: bool = False
    _told: dict[str, str] = field(default_factory=dict)

    def tell(self, release: Release) -> None:
        """Print one state: a JSON line, or a line for each change since the last one."""
        if self.output.form is OutputFormat.JSON:
            self.output.line({"event": "progress", **release_json(release)})
            return
        for what, how in _changes(release.document).items():
            if self._told.get(what) != how:
                self._told[what] = how
                self.output.console.print(f"{release.id} {what}: {how}", markup=False)


def execute(server: str, token_file: Path | None, ask: Callable[[Client], Release], see: Display) -> int:
    """Request a release and watch it if `wait` is set; returns the exit code.

    Raises what the client does; one that ended otherwise than it was to among it.
    """
    from syncd.client import TimedOut  # noqa: PLC0415 -- see the top

    with _client(server, token_file) as client:
        release = ask(client)
        if not see.wait:
            text = f"{release.id} is {release.phase}"
            see.output.show(release_json(release), lambda console: console.print(text, markup=False))
            return Exit.OK
        code = Exit.OK
        seen = [release]

        def tell(found: Release) -> None:
            seen[:] = [found]
            see.tell(found)

        try:
            client.wait(release.id, timeout_s=see.timeout_s, going_back=see.going_back, tell=tell)
        except TimedOut:
            code = Exit.TIMEOUT
        last = seen[0]
        text = f"{last.id} {last.model}@{last.version} is {last.phase}"
        see.output.show({"event": "end", **release_json(last)}, lambda console: console.print(text, markup=False))
        return code


def asked(server: str, token_file: Path | None, ask: Callable[[Client], T]) -> T:
    """Make one call. Raises what the client does."""
    with _client(server, token_file) as client:
        return ask(client)


def release_json(release: Release) -> dict[str, Any]:
    """A release as JSON, as the commands print it."""
    return {key: value for key, value in release.document.items() if key not in _ONLY_THERE}


def _client(server: str, token_file: Path | None) -> Client:
    from syncd.client import Client  # noqa: PLC0415 -- see the top

    return Client(server, _token(token_file))


def _token(file: Path | None) -> str:
    if file is None:
        return os.environ.get(TOKEN, "")
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"{file}: the token cannot be read: {error}") from error


def _changes(document: Mapping[str, Any]) -> dict[str, str]:
    now = {"release": f"{document['phase']} {document['reason']}".strip()}
    now |= {each["target"]: each["phase"] for each in document.get("targets", ())}
    for each in document.get("bindings", ()):
        now[each["binding"]] = f"{each['phase']} function version {each['to'] or '-'}"
    for each in document.get("stuck", ()):
        now[f"{each['step']} {each['subject']}"] = each["reason"]
    return now
