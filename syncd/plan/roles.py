"""What a token may do: each role may do what the ones before it may."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """From the least to the most."""

    READ = "read"  # status, releases, models, events
    PUBLISH = "publish"  # and ask for releases
    OPERATE = "operate"  # and roll back, cancel, approve, hold and freeze

    def allows(self, wanted: Role) -> bool:
        """Whether this role may do what `wanted` is needed for."""
        order = list(Role)
        return order.index(self) >= order.index(wanted)
