"""Copies one version to many targets with one reading of the source, in bounded memory."""

from syncd.transfer.carry import CopyReport, Destination, TransferSettings, copy
from syncd.transfer.progress import FileProgress, Glance, Progress, TargetProgress

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
