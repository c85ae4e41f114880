"""Values that are made when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from threading import Lock
from typing import Final, TypeVar

T = TypeVar("T")


class LazyMapping(Mapping[str, T]):
    """Values by name, each made once. The names, and how many there are, are told without making any.

    Safe from several threads. Asking for a value raises what its making does; the next who asks tries again.
    """

    def __init__(self, makers: Mapping[str, Callable[[], T]]) -> None:
        self._makers: Final = dict(makers)
        self._made: Final[dict[str, T]] = {}
        self._lock = Lock()

    def __getitem__(self, name: str) -> T:
        make = self._makers[name]
        with self._lock:
            if name not in self._made:
                self._made[name] = make()
            return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def __contains__(self, name: object) -> bool:
        return name in self._makers
