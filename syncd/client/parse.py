"""Parsing of the server's JSON into the dataclasses of `documents`."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, Self, get_args, get_origin

from syncd.errors import Invalid

ENDS: Final = frozenset({"live", "undone", "stalled", "superseded", "cancelled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An object in an answer. `document` is its JSON; a newer server may send keys that the class does not have."""

    document: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Parse the JSON. Raises Invalid: it is not what syncd sends."""
        with read_as_ours():
            made: Self = _parse(cls, document)
            return made


class Ending:
    """A release, of which it can be asked whether it has ended."""

    __slots__ = ()
    phase: str

    @property
    def has_ended(self) -> bool:
        """Whether it has reached its final phase."""
        return self.phase in ENDS


@contextmanager
def read_as_ours() -> Iterator[None]:
    """Parse a response inside. Raises Invalid if it is not syncd's."""
    try:
        yield
    except (KeyError, ValueError, TypeError) as error:
        raise not_ours() from error


def not_ours() -> Invalid:
    """The exception for a response that is not syncd's."""
    return Invalid("expected a response of syncd, got something else", hint="check the URL of the API")


@dataclass(frozen=True, slots=True)
class _Key:
    """A key of an answer: the attribute that it becomes, its type, and whether it may be missing."""

    key: str
    attribute: str
    hint: Any
    is_optional: bool


@cache
def _keys(shape: Any) -> tuple[_Key, ...]:
    hints = typing.get_type_hints(shape)
    return tuple(
        _Key(
            each.metadata.get("key", each.name),
            each.name,
            hints[each.name],
            each.default is not dataclasses.MISSING or each.default_factory is not dataclasses.MISSING,
        )
        for each in dataclasses.fields(shape)
        if each.name != "document"
    )


def _parse(shape: Any, found: object) -> Any:
    """`shape` is a subclass of Answer."""
    if not isinstance(found, Mapping):
        raise TypeError(found)
    wanted = [each for each in _keys(shape) if each.key in found or not each.is_optional]
    return shape(document=found, **{each.attribute: _value(each.hint, found[each.key]) for each in wanted})


def _value(hint: Any, found: Any) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return found
    if origin is UnionType:
        (kind,) = (each for each in inner if each is not NoneType)
        return None if found is None else _value(kind, found)
    if origin is tuple:
        if not isinstance(found, list):
            raise TypeError(found)
        kinds = inner[:1] * len(found) if inner[-1] is Ellipsis else inner
        return tuple(_value(kind, each) for kind, each in zip(kinds, found, strict=True))
    if origin is not None:  # Mapping[str, X]
        return {key: _value(inner[1], each) for key, each in found.items()}
    if hint is datetime:
        return datetime.fromisoformat(found)
    if issubclass(hint, Answer):
        return _parse(hint, found)
    if not isinstance(found, (int, float) if hint is float else hint) or (isinstance(found, bool) and hint is not bool):
        raise TypeError(found)
    return found
