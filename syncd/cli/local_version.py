"""`publish --from`: a directory is checked as a version is, before anything of it is copied."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from syncd.cli.upload.source_directory import Files, open_file
from syncd.formats.check import check, is_read
from syncd.formats.contents import Contents
from syncd.formats.spans import NoRangesError, Pull, Ranges
from syncd.formats.version import check_together


def check_local(source: Path, files: Files, takes: Callable[[str], bool]) -> Sequence[str]:
    """Check the files of a directory by their formats and against each other; of those that the registry takes.

    Gives warnings, as `formats.version.check_together` does.

    Raises:
        Corrupt: A file was cut off, or is something else than its name says.
        Invalid: A file is missing that another one needs.
        Conflict, Refused: A file has gone, or cannot be read.
    """
    taken = {path: found.size_bytes for path, found in files.items() if takes(path)}
    contents = {}
    for path, size_bytes in taken.items():
        if is_read(path, size_bytes):
            with open_file(source, path, files[path]) as file:
                contents[path] = _contents(file, path, taken)
    return check_together(taken, contents)


def _contents(file: BinaryIO, path: str, sizes: Mapping[str, int]) -> Contents:
    try:
        return Ranges(path, lambda offset_bytes: _at(file, offset_bytes)).run(check(path, sizes[path], sizes))
    except NoRangesError:
        return Contents(is_whole=False)


def _at(file: BinaryIO, offset_bytes: int) -> Pull:
    file.seek(offset_bytes)
    return file.read
