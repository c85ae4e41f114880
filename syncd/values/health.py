"""States of health, as the record and every answer name them."""

from __future__ import annotations

from typing import Final, Literal

HealthState = Literal["good", "degraded", "bad", "unknown"]

GOOD: Final = "good"
DEGRADED: Final = "degraded"  # syncd works, and something that it works with does not
BAD: Final = "bad"  # syncd does not work
UNKNOWN: Final = "unknown"  # not checked since the daemon started
