"""Function Compute as a local server that refuses what the real one refuses and really runs functions."""

from syncd.localcloud.fc.images import ImageTable
from syncd.localcloud.fc.local import LocalFc
from syncd.localcloud.fc.region import FcRegion
from syncd.localcloud.fc.rules import PublishDuringUpdate, Settings

__all__ = ["FcRegion", "ImageTable", "LocalFc", "PublishDuringUpdate", "Settings"]
