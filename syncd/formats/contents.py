"""What a parser found in a file: how many tensors, what else it needs; and how a damaged file is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from syncd.errors import Corrupt, Invalid

CUT_OFF: Final = "it was cut off when it was brought there, or goes on"


@dataclass(frozen=True, slots=True)
class Need:
    """Another file of the version that a file names, by its path, and how long it has to be at least.

    A path that ends with `/` is a folder, in which there has to be a file. `begin_bytes` is the lowest offset that is
    read there.
    """

    path: str
    size_bytes: int = 0
    begin_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a file. `format` is "" for a file of no known format.

    `parameters` are the numbers of each type; none where weights are packed. `needs` are other files that it names.
    `is_whole` is False where the format has more than is read, so that a cut may be overlooked. `data_begins` is the
    offset of the first tensor's bytes, of a format whose tensors are read by offset from other files, too.
    """

    format: str = ""
    tensors: int | None = None
    parameters: Mapping[str, int] = field(default_factory=dict)
    needs: tuple[Need, ...] = ()
    models: tuple[str, ...] = ()  # of the folders that are needed, those of models
    base: str | None = None  # of an adapter: the model that it is for
    is_whole: bool = True
    data_begins: int = 0


def damaged(path: str, what: str, cause: str = "") -> Corrupt:
    """The refusal of a file: what is wrong with it, and the two ways on."""
    return Corrupt(f"{path} {what}", hint=f"{cause + ': ' if cause else ''}{way_on(path)}")


def cut_off(path: str, size_bytes: int, what: str) -> Corrupt:
    """The refusal of a file whose size is not what its own contents say."""
    return damaged(path, f"has {size_bytes} bytes, {what}", CUT_OFF)


def missing(path: str, why: str, culprit: str) -> Invalid:
    """The refusal of a version for want of a file. `culprit` is the file that could be left out instead."""
    hint = f"bring the whole model there, under a new version's name, or leave out what needs it: {leaving(culprit)}"
    return Invalid(f"{path} is missing: {why}", hint=hint)


def way_on(path: str) -> str:
    """What to do about a file that is damaged."""
    return f"bring the whole file there, under a new version's name, or leave it out: {leaving(path)}"


def leaving(path: str) -> str:
    """The setting of a registry that leaves a file out."""
    return f"`leave = [{json.dumps(path)}]` of the registry"


def shown(data: bytes) -> str:
    """The first bytes of a file, for a message."""
    return repr(data[:16])
