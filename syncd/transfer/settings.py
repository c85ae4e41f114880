"""What one copy is told: where to, and its bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from syncd.artifact.parts import MIB, PART_BYTES
from syncd.retry import Retry
from syncd.target.base import Journal, Target
from syncd.transfer.bandwidth import Bandwidth


@dataclass(frozen=True, slots=True)
class Destination:
    """A target, and what is remembered of this version there.

    `finished` is called once, as soon as every file is there, from a thread of the target's own and while others may
    still be copied to. What it raises of ours is this target's failure.
    """

    target: Target
    journal: Journal
    finished: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class TransferSettings:
    """Bounds of one copy. Memory is `buffer_bytes` whatever the model's size and the number of targets."""

    buffer_bytes: int = 64 * MIB  # 8 parts of 8 MiB, being read, hashed and sent
    part_bytes: int = PART_BYTES
    files_in_flight: int = 2  # threads that read and hash; one SHA-256 runs at 1 to 2 GB/s
    parts_in_flight: int = 8  # threads that send, for each target
    retry: Retry = field(default_factory=Retry)
    bandwidth: Bandwidth | None = None  # of the whole process
    patience_s: float = 1.0  # for a target that the others wait for; see `transfer/blame.py`
