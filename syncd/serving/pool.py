"""Pool: the arenas of a process within one budget. Its caller holds a lock; what takes long is left to its caller."""

from __future__ import annotations

from .arena import Arena


class ArenaPool:
    """Counts memory from `reserve` until `forget`. Not safe from several threads."""

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.used_bytes = 0  # of all arenas, free ones too
        self._free: list[Arena] = []

    def free(self, want_bytes: int) -> Arena | None:
        """The smallest free arena that is large enough, if there is one."""
        fitting = [each for each in self._free if want_bytes <= each.size_bytes]
        if not fitting:
            return None
        arena = min(fitting, key=lambda each: each.size_bytes)
        self._free.remove(arena)
        return arena

    def reserve(self, want_bytes: int) -> bool:
        """Whether a new arena of this size is within the budget; then it counts from now on."""
        if self.used_bytes + want_bytes > self.budget_bytes:
            return False
        self.used_bytes += want_bytes
        return True

    def surplus(self) -> Arena | None:
        """A free arena to be dropped, if there is one; `forget` it when its memory is gone."""
        return self._free.pop() if self._free else None

    def give(self, arena: Arena) -> None:
        """An arena that nobody has views of: free again."""
        self._free.append(arena)

    def forget(self, size_bytes: int) -> None:
        """So much memory is gone, or belongs to whoever still has arrays over it."""
        self.used_bytes -= size_bytes
