"""Copies one version to many targets with one reading of the source, in bounded memory."""

from syncd.transfer.carry import CopyReport, copy
from syncd.transfer.progress import FileProgress, Glance, Progress, TargetProgress
from syncd.transfer.settings import Destination, TransferSettings

__all__ = [
    "CopyReport",
    "Destination",
    "FileProgress",
    "Glance",
    "Progress",
    "TargetProgress",
    "TransferSettings",
    "copy",
]
