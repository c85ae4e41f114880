"""Validation of external names: models, versions and file paths.

A parsed name cannot leave its directory, hide in a terminal, or collide on a case-insensitive disk.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Final, NewType

from syncd.errors import Invalid

ModelName = NewType("ModelName", str)
VersionName = NewType("VersionName", str)
FilePath = NewType("FilePath", str)

_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
MODEL_MAX: Final = 128
VERSION_MAX: Final = 96  # with "-", 12 digits of digest and a model it is a valid file name everywhere
PATH_MAX_BYTES: Final = 900  # OSS keys end at 1023 bytes; prefix, model and version need the rest
PATH_DEPTH_MAX: Final = 32
SEAL_DIRECTORY: Final = ".syncd"


def parse_model(text: str) -> ModelName:
    """Parse a model's name: `sdxl`, or with an owner `team/sdxl`.

    Raises:
        Invalid: It has other characters, is too long, or begins with a dot or dash.
    """
    if len(text) > MODEL_MAX or not _MODEL.fullmatch(text) or ".." in text:
        alone = text.partition("@")[0]
        before = f"for the model alone write {alone}: " if "@" in text and _MODEL.fullmatch(alone) else ""
        raise Invalid(
            f"model name {_shown(text)} is not allowed",
            hint=f"{before}letters, digits, '.', '_' and '-', at most one '/', beginning with a letter or digit, "
            f"at most {MODEL_MAX} characters",
        )
    return ModelName(text)


def parse_version(text: str) -> VersionName:
    """Parse a version's name, such as `v2` or `1.4.0+cu12`.

    Raises:
        Invalid: It has other characters, is too long, or begins with a dot or dash.
    """
    if len(text) > VERSION_MAX or not _VERSION.fullmatch(text) or ".." in text:
        raise Invalid(
            f"version name {_shown(text)} is not allowed",
            hint=f"letters, digits, '.', '_', '+' and '-', beginning with a letter or digit, at most {VERSION_MAX}",
        )
    return VersionName(text)


def parse_model_at_version(text: str) -> tuple[ModelName, VersionName]:
    """Parse `MODEL@VERSION`.

    Raises:
        Invalid: There is not exactly one '@', or a name is not allowed.
    """
    model, at, version = text.partition("@")
    if not at:
        raise Invalid(f"{_shown(text)} has no version", hint="write MODEL@VERSION, for example sdxl@v2")
    return parse_model(model), parse_version(version)


def parse_path(text: str) -> FilePath:
    """Parse a file's path in a version, with '/' between its parts.

    Raises:
        Invalid: It is absolute, leaves its directory, has NUL, control characters or a backslash, is not in
            Unicode's composed form, is too long or too deep, or is in `.syncd/`, which is syncd's own.
    """
    reason = _path_fault(text)
    if reason:
        raise Invalid(f"file name {_shown(text)} is refused: {reason}", hint="rename it at the source")
    return FilePath(text)


def parse_paths(texts: Iterable[str]) -> tuple[FilePath, ...]:
    """Parse all paths of one version.

    Raises:
        Invalid: One is refused, two are equal or differ only in case, or one is both a file and a directory.
    """
    paths = tuple(FilePath(text) for text in texts)
    check_paths(paths)
    return paths


def check_paths(paths: Sequence[str]) -> None:
    """Check all paths of one version, in some 50 bytes for each. Iterates over `paths` several times.

    Raises:
        Invalid: One is refused, two are equal or differ only in case, or one is both a file and a directory.
    """
    # A million texts that are kept take 80 MB and their dictionary as much: their hashes show nearly always that
    # nothing collides, and where they do not the paths themselves decide.
    hashes = array("q", (hash(parse_path(path).casefold()) for path in paths))
    hashes_of_directories = _hashes_of_directories(paths)
    is_directory = any(each in hashes_of_directories for each in hashes)
    if is_directory or any(one == other for one, other in pairwise(sorted(hashes))):
        _refuse_collisions(paths)


def _hashes_of_directories(paths: Iterable[str]) -> set[int]:
    found: set[int] = set()
    last = ""
    for path in paths:
        parent = path.casefold().rpartition("/")[0]
        if parent == last:  # they are ordered, nearly always
            continue
        last = parent
        while parent and (each := hash(parent)) not in found:
            found.add(each)
            parent = parent.rpartition("/")[0]
    return found


def _refuse_collisions(paths: Iterable[str]) -> None:
    seen: dict[str, str] = {}
    for path in paths:
        folded = path.casefold()
        if folded in seen:
            raise Invalid(f"file names {_shown(seen[folded])} and {_shown(path)} collide", hint="rename one of them")
        seen[folded] = path
    for path in seen.values():
        parent = path.casefold()
        while "/" in parent:
            parent = parent.rpartition("/")[0]
            if parent in seen:
                raise Invalid(f"{_shown(seen[parent])} is a file and the directory of {_shown(path)}")


@lru_cache(maxsize=16_384)  # a path is parsed several times, and a version may have ten thousand
def _path_fault(text: str) -> str:
    is_plain = text.isascii() and text.isprintable()  # most are, and need no check of each character
    parts = text.split("/")
    checks = (
        (not text, "it is empty"),
        ("\x00" in text, "it contains NUL"),
        (text.startswith("/"), "it is absolute"),
        ("\\" in text or re.match(r"[A-Za-z]:", text) is not None, "it is a path of another system"),
        (any(part in {"", ".", ".."} for part in parts), "it has an empty part, '.' or '..'"),
        (not is_plain and any("\ud800" <= c <= "\udfff" for c in text), "it is not valid UTF-8"),
        (not is_plain and any(unicodedata.category(c).startswith("C") for c in text), "it contains control characters"),
        (unicodedata.normalize("NFC", text) != text, "it is not in Unicode's composed form (NFC)"),
        (
            len(text.encode("utf-8", "surrogatepass")) > PATH_MAX_BYTES,
            f"it is longer than {PATH_MAX_BYTES} bytes",
        ),
        (len(parts) > PATH_DEPTH_MAX, f"it is deeper than {PATH_DEPTH_MAX} directories"),
        (parts[0].casefold() == SEAL_DIRECTORY, f"{SEAL_DIRECTORY}/ is syncd's own"),
    )
    return next((reason for wrong, reason in checks if wrong), "")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 120 else text[:117] + "...")
