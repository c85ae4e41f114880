"""Sharded files: an index that names its shards, and shards that are numbered by their names."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from syncd.artifact.bounded_json import parse_bounded_bytes
from syncd.artifact.names import FilePath, parse_path
from syncd.errors import Invalid
from syncd.formats.contents import Contents, Need, leaving
from syncd.formats.parsers.onnx import beside
from syncd.formats.spans import Span, Steps

INDEX_BYTES_MAX: Final = 16 << 20  # some 160 000 tensors
_INDEX: Final = re.compile(
    r"(?P<stem>.*)\.(?P<ending>safetensors|bin|h5|msgpack)\.index(?:\.(?P<variant>[\w-]+))?\.json"
)
_SHARD: Final = re.compile(r"(?P<start>.*-)(?P<number>\d{5,6})-of-(?P<count>\d{5,6})(?P<end>[^/]*)")


def is_index(path: str) -> bool:
    """Whether a name is one of an index of shards: of transformers, diffusers and what follows them."""
    return _INDEX.fullmatch(path) is not None


def single_of(index: str) -> tuple[str, ...]:
    """The names under which the same weights would be one file beside an index."""
    match = _INDEX.fullmatch(index)
    if match is None:
        return ()
    stem, ending, variant = match["stem"], match["ending"], match["variant"]
    return (f"{stem}.{variant}.{ending}", f"{stem}.{ending}") if variant else (f"{stem}.{ending}",)


def is_shard(path: str) -> bool:
    """Whether a name is one of a numbered shard."""
    return _SHARD.fullmatch(path) is not None


def parse(path: str, size_bytes: int) -> Steps[Contents]:
    """Read an index; its needs are the shards.

    Raises:
        Invalid: It is not an index, is too large, or names something outside of its own folder.
    """
    if size_bytes > INDEX_BYTES_MAX:
        raise Invalid(f"{path} has {size_bytes} bytes, at most {INDEX_BYTES_MAX} are read of it")
    named = shards(path, (yield Span(0, size_bytes)))
    return Contents("index", needs=tuple(Need(each) for each in sorted(named)))


def shards(path: str, data: bytes) -> frozenset[FilePath]:
    """The files that an index names, by their paths in the version.

    Raises:
        Invalid: It is not an index, or names something outside of its own folder.
    """
    hint = f"write it anew, or leave it out: {leaving(path)}"
    try:
        document = parse_bounded_bytes(data, "the document")
    except (ValueError, Invalid) as error:
        raise Invalid(f"{path} is not an index of shards: {error}", hint=hint) from error
    names = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(names, dict):
        raise Invalid(f"{path} is not an index of shards: it has no 'weight_map'", hint=hint)
    found = set()
    for name in set(map(_text, names.values())):
        place = beside(path, name)
        if place is None:
            shown = repr(name)[:120]
            raise Invalid(
                f"{path} names {shown}, which is not in its own folder", hint=f"an index names its shards: {hint}"
            )
        found.add(parse_path(place))
    return frozenset(found)


def _text(name: object) -> str:
    return name if isinstance(name, str) else ""


def missing_shard(paths: Collection[str], named: Mapping[str, Collection[str]]) -> tuple[str, str] | None:
    """The first shard that by the names of the others has to be there and is not, and one of those others.

    `named` are the shards that each index names. An index decides which shards belong: what has its name is not
    looked for by numbers. Numbers begin with 0 or with 1.
    """
    stems = {(match["start"], match["end"]) for match in map(_SHARD.fullmatch, _all(named)) if match}
    series: dict[tuple[str, str, str, int], set[int]] = {}
    for match in map(_SHARD.fullmatch, paths):
        if match and (match["start"], match["end"]) not in stems:
            key = (match["start"], match["count"], match["end"], len(match["number"]))
            series.setdefault(key, set()).add(int(match["number"]))
    for (start, count, end, digits), numbers in sorted(series.items()):
        first = 0 if 0 in numbers else 1
        lost = next((n for n in range(first, first + int(count)) if n not in numbers), None)
        if lost is not None:
            there = f"{start}{min(numbers):0{digits}}-of-{count}{end}"
            return f"{start}{lost:0{digits}}-of-{count}{end}", there
    return None


def left_over(paths: Collection[str], named: Mapping[str, Collection[str]]) -> Iterator[tuple[str, str]]:
    """Shards that are called like those of an index which does not name them, each with that index."""
    belonging = set(_all(named))
    alike: dict[tuple[str, str], list[str]] = {}
    for path in sorted(path for path in paths if named and _SHARD.fullmatch(path)):
        match = _SHARD.fullmatch(path)
        if match and path not in belonging:
            alike.setdefault((match["start"], match["end"]), []).append(path)
    for index, own in sorted(named.items()):
        stems = {(match["start"], match["end"]) for match in map(_SHARD.fullmatch, own) if match}
        for path in sorted(path for stem in stems for path in alike.get(stem, ())):
            yield path, index


def _all(named: Mapping[str, Collection[str]]) -> Iterator[str]:
    for own in named.values():
        yield from own


def folder(path: str) -> str:
    """The folder of a path, with a `/` at its end; "" for the top."""
    parent = posixpath.dirname(path)
    return f"{parent}/" if parent else ""
