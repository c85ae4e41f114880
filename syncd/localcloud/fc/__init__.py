"""Function Compute (API 2023-03-30) as a local server that validates requests and runs functions as processes."""

from syncd.localcloud.fc.functions.operations import PublishDuringUpdate, Settings
from syncd.localcloud.fc.images.image_table import ImageTable
from syncd.localcloud.fc.region import FcRegion, FunctionCompute

__all__ = ["FcRegion", "FunctionCompute", "ImageTable", "PublishDuringUpdate", "Settings"]
