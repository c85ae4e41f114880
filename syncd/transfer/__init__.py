"""Copies one version to many targets with one reading of the source, in bounded memory."""

from syncd.transfer.apart import apart
from syncd.transfer.bandwidth import Bandwidth, Hours, Timetable
from syncd.transfer.carry import CopyReport, copy
from syncd.transfer.hands import Adrift
from syncd.transfer.nearest import nearest_first
from syncd.transfer.preferred import Preferred
from syncd.transfer.progress import FileProgress, Glance, Progress, TargetProgress
from syncd.transfer.reader import Source
from syncd.transfer.settings import Destination, TransferSettings

__all__ = [
    "Adrift",
    "Bandwidth",
    "CopyReport",
    "Destination",
    "FileProgress",
    "Glance",
    "Hours",
    "Preferred",
    "Progress",
    "Source",
    "TargetProgress",
    "Timetable",
    "TransferSettings",
    "apart",
    "copy",
    "nearest_first",
]
