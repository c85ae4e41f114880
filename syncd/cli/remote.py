"""Commands over HTTP: options for a daemon elsewhere, and the wait for a release there."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from syncd.cli.exit_codes import Exit
from syncd.cli.output.output import Output, OutputFormat, moment_of, span
from syncd.errors import Invalid, SyncdError

if TYPE_CHECKING:  # httpx takes a tenth of a second, and most commands contact no server
    from syncd.client import Client, Release

T = TypeVar("T")
TOKEN: Final = "SYNCD_TOKEN"  # noqa: S105 -- the name of a variable
NAMED: Final = "publishing {model}@{version}"  # the first line where the command was given another form of the name
SERVER: Final = "SYNCD_SERVER"
WITH_SERVER: Final = frozenset(
    {
        "advise",
        "approve",
        "cancel",
        "dismiss",
        "drift",
        "freeze",
        "health",
        "hold",
        "plan",
        "publish",
        "releases",
        "repair",
        "retry",
        "rollback",
        "show",
        "status",
        "unfreeze",
        "unhold",
        "verify",
        "versions",
        "watch",
    }
)  # the commands with `--server`
_COMMAND: Final = re.compile(r"(?P<quote>`)syncd (?P<words>[^`]+)`")
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
    str,
    typer.Option(
        "--server",
        envvar=SERVER,
        help="Use the daemon at this URL; of a fleet, several with commas between.",
        show_default=False,
    ),
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
    is_named: bool = False  # the server finds what a name stands for: the first line says what
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

    with _hints_for(server), _client(server, token_file) as client:
        release = ask(client)
        if see.is_named and see.output.form is OutputFormat.TEXT:
            see.output.console.print(NAMED.format(model=release.model, version=release.version), markup=False)
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
            _tell_what_goes_on(see.output, server, seen[0], f"timed out after {span(see.timeout_s)}")
        except KeyboardInterrupt:
            _tell_what_goes_on(see.output, server, seen[0], "interrupted")
            return Exit.INTERRUPTED
        last = seen[0]
        text = f"{last.id} {last.model}@{last.version} is {last.phase}"
        see.output.show({"event": "end", **release_json(last)}, lambda console: console.print(text, markup=False))
        return code


def asked(server: str, token_file: Path | None, ask: Callable[[Client], T]) -> T:
    """Make one call. Raises what the client does."""
    with connected(server, token_file) as client:
        return ask(client)


@contextmanager
def connected(server: str, token_file: Path | None) -> Iterator[Client]:
    """A client for several calls. Raises what the client does, with hints that name commands for this user."""
    with _hints_for(server), _client(server, token_file) as client:
        yield client


def there(text: str, server: str) -> str:
    """A hint of the daemon for a user who is elsewhere: `syncd unhold m` becomes one with `--server`.

    A command without that option has to be run beside the record, and the hint says so. With SYNCD_SERVER set
    the commands work as they are.
    """

    if not server:
        return text

    def named(found: re.Match[str]) -> str:
        words, quote = found["words"], found["quote"]
        if words.split()[0] not in WITH_SERVER:
            return f"{quote}syncd {words}{quote} on the daemon's machine"
        option = "" if os.environ.get(SERVER) else f" --server {server}"
        return f"{quote}syncd {words}{option}{quote}"

    return _COMMAND.sub(named, text)


@contextmanager
def _hints_for(server: str) -> Iterator[None]:
    try:
        yield
    except SyncdError as error:
        error.hint = there(error.hint, server)
        raise


def _tell_what_goes_on(output: Output, server: str, release: Release, why: str) -> None:
    """Say that a release goes on where the daemon works, and how to follow or end it."""
    if release.has_ended:
        return
    moved = release.phase in {"flipping", "undoing"} and not release.document.get("rollout")
    stop = f"`syncd rollback {release.model}`" if moved else f"`syncd cancel {release.id}`"
    hint = there(f"follow: `syncd watch {release.id}`; stop: {stop}", server)
    output.note(f"{why}: {release.id} goes on in the daemon at {server}; {hint}")


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
        again = f", next try {moment_of(each['next_try'])}" if each.get("next_try") else ""
        tried = f" (tried {each['failures']}×{again})" if each["failures"] else ""
        now[f"{each['step']} {each['subject']}"] = f"{each['reason']}{tried}"
    return now
