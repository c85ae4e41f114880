"""Settings of one copy: its destinations and its bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from syncd.artifact.names import FilePath
from syncd.artifact.parts import MIB, PART_BYTES
from syncd.retry import Retry
from syncd.targets.base import Journal, Target
from syncd.transfer.flow.bandwidth import Bandwidth
from syncd.transfer.flow.stream_limit import StreamLimit
from syncd.transfer.workers.worker_pool import LeakedThreads
from syncd.values.source import Location


@dataclass(frozen=True, slots=True)
class Destination:
    """A target, and the journal of this version there.

    `finished` is called once, as soon as every file is there, from a thread of the target's own and while others may
    still be copied to. What it raises of ours is this target's failure. `nearby` says where the target's store could
    copy a file of the source from; the file is read all the same, and its bytes are not sent.
    """

    target: Target
    journal: Journal
    finished: Callable[[], None] | None = None
    nearby: Callable[[FilePath], Location | None] | None = None


@dataclass(frozen=True, slots=True)
class CopySettings:
    """Bounds of one copy. Memory is `buffer_bytes` whatever the model's size and the number of targets."""

    buffer_bytes: int = 40 * MIB  # 5 parts of 8 MiB, being read, hashed and sent
    part_bytes: int = PART_BYTES
    files_in_flight: int = 2  # threads that read and hash; one SHA-256 runs at 1 to 2 GB/s
    parts_in_flight: int = 5  # threads that send, for each target
    retry: Retry = field(default_factory=Retry)
    bandwidth: Bandwidth | None = None  # of the whole process
    patience_s: float = 1.0  # for a target that the others wait for; see `transfer/flow/send_queue.py`
    stall_s: float = 60.0  # a call without any progress for so long is abandoned
    grace_s: float = 2.0  # a cancelled thread that has not stopped by then is abandoned
    leaked_threads: LeakedThreads = field(default_factory=LeakedThreads)  # of the whole process
    span_bytes: int = 2 * MIB  # of a file, by one request where several are made at once; see `sources/parallel.py`
    streams: StreamLimit = field(default_factory=StreamLimit)  # of the whole process
    leaf_digests: bool = False  # of large files: a second SHA-256 of every byte

    @property
    def silence_s(self) -> float:
        """When a thread is given up. The sockets' own timeouts come before: what they end may be tried again."""
        return self.stall_s + max(self.grace_s, self.stall_s / 4)
