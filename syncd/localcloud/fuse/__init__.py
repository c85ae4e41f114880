"""FUSE mounts of a directory that are as slow as an object store's: latency, bandwidth, prefetch, and faults."""

from syncd.localcloud.fuse.mount import can_mount, slow_mount
from syncd.localcloud.fuse.pace import MountPace

__all__ = ["MountPace", "can_mount", "slow_mount"]
