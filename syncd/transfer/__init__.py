"""Copies one version to many targets with one reading of the source, in bounded memory."""

from syncd.transfer.abandonable_call import abandonable_call
from syncd.transfer.copy import CopyReport, copy
from syncd.transfer.flow.bandwidth import Bandwidth, RateWindow, Timetable
from syncd.transfer.flow.stream_limit import StreamLimit
from syncd.transfer.progress import FileProgress, Progress, ProgressSnapshot, TargetProgress
from syncd.transfer.settings import CopySettings, Destination
from syncd.transfer.sources.failover import FailoverSource
from syncd.transfer.sources.nearest import nearest_first
from syncd.transfer.sources.proven import proven_source
from syncd.transfer.workers.worker_pool import LeakedThreads
from syncd.values.source import Source

__all__ = [
    "Bandwidth",
    "CopyReport",
    "CopySettings",
    "Destination",
    "FailoverSource",
    "FileProgress",
    "LeakedThreads",
    "Progress",
    "ProgressSnapshot",
    "RateWindow",
    "Source",
    "StreamLimit",
    "TargetProgress",
    "Timetable",
    "abandonable_call",
    "copy",
    "nearest_first",
    "proven_source",
]
