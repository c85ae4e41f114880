"""Mapping whose values are created on first access."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from threading import Lock
from typing import Final, TypeVar

T = TypeVar("T")


class LazyMapping(Mapping[str, T]):
    """Values by name, each created once. Its names and length are known without creating a value.

    Thread-safe. Access raises as the factory of the value does; the next access tries again.
    """

    def __init__(self, factories: Mapping[str, Callable[[], T]]) -> None:
        self._factories: Final = dict(factories)
        self._values: Final[dict[str, T]] = {}
        self._lock = Lock()

    def __getitem__(self, name: str) -> T:
        factory = self._factories[name]
        with self._lock:
            if name not in self._values:
                self._values[name] = factory()
            return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._factories)

    def __len__(self) -> int:
        return len(self._factories)

    def __contains__(self, name: object) -> bool:
        return name in self._factories
