"""Looks at a registry soon after a webhook told of it."""

from __future__ import annotations

import time
from typing import Final

from syncd.errors import SyncdError
from syncd.reconcile.hints import look_if_told
from syncd.reconcile.rooms import Rooms

ASKED_EVERY_S: Final = 1.0  # any number of deliveries within it become one look
_FIRST_WAIT_S: Final = 2.0


class Told:
    """One registry's chore: less and less often while it cannot be read, though never less than it is polled."""

    def __init__(self, rooms: Rooms, registry: str, poll_s: float, *, auto_release: bool) -> None:
        self._rooms = rooms
        self._registry = registry
        self._poll_s = poll_s
        self._auto_release = auto_release
        self._wait_s = 0.0
        self._not_before = 0.0

    def __call__(self) -> None:
        """Look, if there is something to look for. Raises what the look does."""
        if time.monotonic() < self._not_before:
            return
        try:
            look_if_told(self._rooms, self._registry, auto_release=self._auto_release)
        except SyncdError:
            self._wait_s = min(max(_FIRST_WAIT_S, 2 * self._wait_s), self._poll_s)
            self._not_before = time.monotonic() + self._wait_s
            raise
        self._wait_s = 0.0
