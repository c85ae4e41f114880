"""`syncd repair`."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from syncd.cli import remote
from syncd.cli.exit_codes import Exit
from syncd.cli.output.output import Output, OutputFormat, size
from syncd.cli.remote import ServerOption, TimeoutOption, TokenFileOption
from syncd.cli.session import DEFAULT_CONFIG, CliSession, ConfigOption, OutputOption, VerboseOption, session

if TYPE_CHECKING:
    from types import FrameType

    from rich.console import Console

    from syncd.client import Client

_POLL_S: Final = 0.5
_CODES: Final[Mapping[str, Exit]] = {
    "NotFound": Exit.NOT_FOUND,
    "Conflict": Exit.CONFLICT,
    "Refused": Exit.REFUSED,
    "KeyRefused": Exit.REFUSED,
    "Invalid": Exit.USAGE,
}
Rows = Sequence[Mapping[str, Any]]


def repair(
    what: Annotated[str, typer.Argument(metavar="MODEL[@VERSION]", show_default=False)],
    target: Annotated[str | None, typer.Option("--target", help="Only at this target.", show_default=False)] = None,
    timeout: TimeoutOption = 0.0,
    server: ServerOption = "",
    token_file: TokenFileOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> int:
    """Restore deleted or damaged bytes of a version from a good copy: another target, or the registry.

    Every byte is read and compared. What is damaged is removed only after a good copy of it was read; where there is
    none, nothing is removed. Aliases are not touched. Without a version: every version that is placed. A repair that
    was killed continues when you repeat it, and a daemon continues it by itself.

    Exit codes: 0 all is whole, 8 something cannot be repaired, 7 a place did not answer: repeat it.

    Example: syncd repair sdxl@v7 --target shanghai
    """
    from syncd.artifact.names import parse_model, parse_model_at_version  # noqa: PLC0415 -- `--help` needs none of it

    model, version = parse_model_at_version(what) if "@" in what else (parse_model(what), None)
    deadline = time.monotonic() + timeout if timeout else float("inf")
    if server:

        def ask(there: Client) -> Rows:
            return _followed(there.repair(model, version, target), lambda: there.repairs(model), deadline)

        return _shown(Output(output), remote.asked(server, token_file, ask))
    with session(config, output, verbose=verbose) as opened:
        return _shown(opened.output, _here(opened, (model, version, target), deadline))


def _here(opened: CliSession, wanted: tuple[str, str | None, str | None], deadline: float) -> Rows:
    """Do it in this process; what a daemon has taken is watched."""
    from syncd.reconcile.repair import repairs  # noqa: PLC0415 -- as above
    from syncd.wiring import bandwidth_of, copy_settings  # noqa: PLC0415

    world = opened.world()
    settings = copy_settings(opened.config, bandwidth_of(opened.config))
    begun = repairs.request(opened.requester, *wanted)
    with _stopped_by_signals() as stop:
        done = []
        for each in begun:
            opened.output.note(f"repairing {each.version_id.partition('#')[0]} at {each.target}: reading every byte")
            ended = repairs.execute(world, settings, each, stop)
            while ended.done_at is None and not ended.reason and not stop.wait(_POLL_S):
                if time.monotonic() >= deadline:
                    break
                ended = repairs.execute(world, settings, each, stop)  # another process has it, or had it until it died
            done.append(ended)
            if stop.is_set():
                opened.output.note("stopped; repeat the command to go on, or a daemon goes on")
                raise KeyboardInterrupt
    found: Rows = repairs.document(world, done).as_json()["repairs"]
    return found


def _followed(begun: Rows, read: Callable[[], Rows], deadline: float) -> Rows:
    """Watch repairs that another process does until they have ended, or failed for a time."""
    mine = {_key(each) for each in begun}
    found = list(begun)
    while any(each["phase"] == "repairing" and not each["reason"] for each in found):
        if time.monotonic() >= deadline:
            return found
        time.sleep(_POLL_S)
        found = [each for each in read() if _key(each) in mine]
    return found


def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in ("model", "version", "target"))


def _shown(output: Output, found: Rows) -> int:
    hints = list(dict.fromkeys(str(each["hint"]) for each in found if each["hint"]))

    def text(console: Console) -> None:
        for each in found:
            console.print(_line(each), markup=False)
        for hint in hints:
            console.print(f"to do: {hint}", markup=False)

    output.show({"repairs": list(found)}, text)
    failed = [each for each in found if each["phase"] == "failed"]
    if failed:
        return next((_CODES[each["failure"]] for each in failed if each["failure"] in _CODES), Exit.DIFFERS)
    under_way = [each for each in found if each["phase"] == "repairing"]
    if any(each["reason"] for each in under_way):
        return Exit.UNAVAILABLE
    return Exit.TIMEOUT if under_way else Exit.OK


def _line(row: Mapping[str, Any]) -> str:
    place = f"{row['model']}@{row['version']} at {row['target']}"
    if row["phase"] == "whole":
        return f"{place}: whole, nothing to repair"
    if row["phase"] == "failed":
        return f"{place}: not repaired: {row['reason']}"
    if row["phase"] == "repairing":
        return f"{place}: not repaired yet: {row['reason'] or 'a daemon works on it'}"
    done = [f"{len(row['files'])} files, {size(int(row['bytes']))}"] if row["files"] else []
    done += ["the seal"] if row["seal"] else []
    done += [f"image {each}" for each in row["images"]]
    return f"{place}: repaired: {'; '.join(done)}"


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set: what is under way ends between two effects."""
    stop = threading.Event()

    def request_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, request_stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
