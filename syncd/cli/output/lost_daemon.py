"""A daemon that was killed, as `status` and `health` print it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from syncd.cli.output.output import moment_of


def lost_text(lost: Mapping[str, Any] | None) -> str:
    """What follows "none is running" on its line; "" where the last daemon stopped in order."""
    if lost is None:
        return ""
    return f"; {lost['owner']} was killed or cut off, last heard of at {moment_of(lost['seen_at'])}"
