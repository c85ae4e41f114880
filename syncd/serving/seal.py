"""Sealed version on a mount: where it is, its files, and the fast check of the seal.

The seal is `.syncd/manifest.json`; its SHA-256 is the version's digest. Beside it may be `.syncd/leaves-v1`, see
`leaves`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .errors import NotSealed, UnreadableMount, WrongBytes
from .leaves import LEAVES_PATH, parse_leaves

SEAL_PATH = ".syncd/manifest.json"
_FORMAT = "syncd/manifest/v1"


@dataclass(frozen=True)
class ModelSource:
    """Where a model of this function is mounted. `digest` is "" where no variable names it."""

    name: str
    directory: Path
    digest: str = ""


@dataclass(frozen=True)
class SealedFile:
    """One file of a version. `leaves` are SHA-256 of its pieces of `leaf_bytes`, or none."""

    path: str
    size_bytes: int
    sha256: str
    leaves: tuple[bytes, ...] = ()
    leaf_bytes: int = 0


@dataclass(frozen=True)
class SealedVersion:
    """A version as its seal describes it."""

    directory: Path
    digest: str
    model: str
    version: str
    files: tuple[SealedFile, ...]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def find_models(environ: Mapping[str, str], models: str = "MODELS", *, root: str = "") -> list[ModelSource]:
    """The models that the environment names, in the order of the variable `models`.

    `MODELS` has `name=VARIABLE` pairs, separated by commas. The variable has the model's directory; as
    `name=VARIABLE:json` it has the JSON that a root mount comes with, and with it the digest. `name=VARIABLE+DIGEST`
    names the variable with the digest as well. A model whose variable is not set has no release yet, and is left out.

    Raises:
        NotSealed: `MODELS` is not set, or a variable cannot be understood.
    """
    if not environ.get(models):
        raise NotSealed(f"the variable {models} is not set; expected for example {models}=sdxl=SDXL_PATH+SDXL_DIGEST")
    found = [_source(environ, pair.strip(), root) for pair in environ[models].split(",")]
    return [source for source in found if source is not None]


def _source(environ: Mapping[str, str], pair: str, root: str) -> ModelSource | None:
    name, _, rest = pair.partition("=")
    rest, _, form = rest.partition(":")
    variable, _, digest_variable = rest.partition("+")
    value = environ.get(variable)
    if value is None:
        return None
    if form != "json":
        return ModelSource(name, Path(root + value), environ.get(digest_variable, ""))
    try:
        entry = json.loads(value)[name]
        return ModelSource(name, Path(root + entry["path"]), str(entry.get("digest", "")))
    except (ValueError, KeyError, TypeError) as error:
        raise NotSealed(f"{variable}: expected JSON with a path for {name}, got {value[:80]!r}") from error


def read_seal(directory: str | os.PathLike[str], digest: str = "") -> SealedVersion:
    """Read the seal of the version in `directory`, and compare the size of every file: one `stat` each, no data.

    With `digest` (64 hexadecimal digits) the seal must have that digest: a mount that shows another version is refused.

    Raises:
        NotSealed: There is no seal, or it is another version's.
        WrongBytes: A file is missing or has another size.
        UnreadableMount: The mount failed.
    """
    where = Path(directory)
    data = _read(where / SEAL_PATH)
    if data is None:
        raise NotSealed(f"{where}: no {SEAL_PATH}; the directory is empty or its version is not complete")
    got = hashlib.sha256(data).hexdigest()
    if digest and got != digest:
        raise NotSealed(f"{where}: expected the version {digest}, the mount has {got}")
    try:
        document = json.loads(data)
        if document["format"] != _FORMAT:
            raise NotSealed(f"{where}: expected the manifest format {_FORMAT!r}, got {document['format']!r}")
        files = [(str(each["path"]), int(each["size"]), str(each["sha256"])) for each in document["files"]]
        model, version = str(document["model"]), str(document["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise NotSealed(f"{where / SEAL_PATH}: not a manifest: {error!r}") from error
    for path, size_bytes, _sha256 in files:
        _check_file(where, path, size_bytes)
    found = parse_leaves(_read(where / LEAVES_PATH) or b"", got)
    sealed = [
        SealedFile(path, size, sha256, found.of(path, size), found.leaf_bytes) for path, size, sha256 in sorted(files)
    ]
    return SealedVersion(where, got, model, version, tuple(sealed))


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnreadableMount(f"{path}: {error.strerror}") from error


def _check_file(where: Path, path: str, size_bytes: int) -> None:
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise NotSealed(f"{where}: the seal names {path!r}, which is outside of the version")
    try:
        got = (where / path).stat().st_size
    except FileNotFoundError as error:
        raise WrongBytes(f"{where / path}: missing; the seal says {size_bytes} bytes") from error
    except OSError as error:
        raise UnreadableMount(f"{where / path}: {error.strerror}") from error
    if got != size_bytes:
        raise WrongBytes(f"{where / path}: expected {size_bytes} bytes, the mount has {got}")
