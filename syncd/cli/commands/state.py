"""`syncd state export` and `syncd state import`."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final

import typer

from syncd.cli.output.output import Output, OutputFormat
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session
from syncd.errors import Conflict, Invalid

if TYPE_CHECKING:
    from rich.console import Console

    from syncd.cli.session import CliSession
    from syncd.reconcile.adoption.import_record import Contradiction
    from syncd.state.export.file import ExportHeader

_TOLD_EVERY_S: Final = 5.0
app = typer.Typer(
    help="Move the whole record: export it into a file, import it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def _group() -> None:
    """Move the whole record: export it into a file, import it."""


@app.command()
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.", show_default=False)],
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Write every row of the record into a new file, as JSON lines under a SHA-256: a backup, or the way elsewhere.

    The rows are those of one moment, so a daemon may work meanwhile. The file has mode 0600, for it has the hashes of
    API tokens. An existing file is never overwritten. The engine's own tables are left out: work in flight is handed
    to the engine again.

    Example: syncd state export syncd-record.jsonl
    """
    from syncd.state import schema_version  # noqa: PLC0415 -- beside the record
    from syncd.state.export.record import export_record  # noqa: PLC0415

    with session(config, output, verbose=verbose) as opened:
        schema_version.check_equal(opened.state)
        progress = _Progress(opened.output, "exported")
        with _new_file(file) as stream, opened.state.read() as conn:
            at = opened.state.now(conn).isoformat(timespec="microseconds")
            header, writer = export_record(conn, stream, at, progress.row)
            digest = writer.finish()
        document = _document(file, header) | {"bytes": writer.size_bytes, "sha256": digest}
        text = f"exported {header.rows} rows of schema {header.schema} to {file}, {writer.size_bytes} bytes"
        opened.output.show(document, lambda console: _print(console, text))


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of `syncd state export`.", show_default=False)],
    accept_differences: Annotated[
        bool,
        typer.Option("--accept-differences", help="Import although aliases differ; automatic releases are off then."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. Without a terminal nothing is asked.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Write every row of an exported file into an empty record, which `syncd db create` has made. All or nothing.

    First the whole file is verified, and each alias of the configuration is compared with what the file says is live.
    What differs is listed, and nothing is written unless --accept-differences is given. No alias is moved.

    Exit codes: 0 imported, 2 the file was cut or changed, or is of another format or schema; 9 the record is not empty,
    a process works on it, or aliases differ.

    Example: syncd state import syncd-record.jsonl
    """
    from syncd.engine import lock  # noqa: PLC0415 -- beside the record
    from syncd.reconcile.adoption import import_record as imports  # noqa: PLC0415
    from syncd.reconcile.adoption import survey  # noqa: PLC0415
    from syncd.state import schema_version  # noqa: PLC0415
    from syncd.state.export.record import check_empty, examine  # noqa: PLC0415

    with session(config, output, verbose=verbose) as opened:
        url = opened.config.state.connect_url.render_as_string(hide_password=False)
        shown = opened.state.url.render_as_string(hide_password=True)
        with lock.hold(url), _existing_file(file) as stream:
            schema_version.check_equal(opened.state)
            with opened.state.read() as conn:
                check_empty(conn, shown)
            header, served = examine(stream, str(file), _Progress(opened.output, "verified").row)
            found = imports.contradictions(opened.world(), served)
            _warn(opened.output, found)
            imports.check_accepted(found, is_accepted=accept_differences)
            if not _is_confirmed(opened, header, shown, yes=yes):
                return
            stream.seek(0)
            progress = _Progress(opened.output, "imported", header.rows)
            imports.import_record(opened.world(), stream, str(file), shown, found, progress.row)
        off = survey.why_off(opened.state)
        document = _document(file, header) | {
            "differences": [each.document() for each in found],
            "automatic_releases_off": off,
        }

        def text(console: Console) -> None:
            _print(console, f"imported {header.rows} rows of {header.at} into {shown}")
            if off:
                _print(console, f"automatic releases are off: {off}")
                _print(console, "run: syncd db adopt-world")

        opened.output.show(document, text)


class _Progress:
    """Counts rows, and says every few seconds how far it is: on standard error, beside the result."""

    def __init__(self, output: Output, verb: str, of: int = 0) -> None:
        self._output, self._verb, self._of = output, verb, f" of {of}" if of else ""
        self._rows, self._told_s = 0, time.monotonic()

    def row(self) -> None:
        """One more."""
        self._rows += 1
        if self._rows % 1000 == 0 and time.monotonic() - self._told_s >= _TOLD_EVERY_S:
            self._told_s = time.monotonic()
            self._output.note(f"{self._verb} {self._rows}{self._of} rows")


def _warn(output: Output, found: list[Contradiction]) -> None:
    """List each of them; in JSON they are in the document."""
    if output.form is OutputFormat.TEXT:
        for each in found:
            output.warn(str(each))


def _is_confirmed(opened: CliSession, header: ExportHeader, shown: str, *, yes: bool) -> bool:
    is_asking = not yes and opened.output.form is OutputFormat.TEXT and sys.stdin.isatty() and sys.stdout.isatty()
    if not is_asking or typer.confirm(f"Import {header.rows} rows of {header.at} into {shown}?"):
        return True
    opened.output.note("nothing is imported")
    return False


def _document(file: Path, header: ExportHeader) -> dict[str, object]:
    return {
        "file": str(file),
        "schema": header.schema,
        "exported_at": header.at,
        "rows": header.rows,
        "tables": dict(header.counts),
    }


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)


@contextlib.contextmanager
def _new_file(file: Path) -> Iterator[BinaryIO]:
    """A new file of mode 0600, on the disk when the block ends; removed where the block raises."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise Conflict(f"{file} exists already", hint="name another file: an export overwrites none") from error
    except OSError as error:
        raise Invalid(f"{file}: {error.strerror}", hint="name a file that can be written") from error
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        _sync_directory(file.absolute().parent)
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _existing_file(file: Path) -> Iterator[BinaryIO]:
    try:
        if not file.is_dir() and not stat.S_ISREG(file.stat().st_mode):  # a pipe without a writer blocks at its opening
            raise Invalid(f"{file} is not a file, and it is read twice", hint="save it as a file first")
        stream = file.open("rb")
    except OSError as error:
        raise Invalid(f"{file}: {error.strerror}", hint="name a file that `syncd state export` wrote") from error
    with stream:
        yield stream
