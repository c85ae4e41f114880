"""Facts about a model in one region that the rules look at, and figures that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

# The guidance's figure for a performance-type general-purpose NAS: its initial bandwidth.
NAS_BANDWIDTH: Final = 600_000_000
START_LIMIT_S: Final = 120.0
MEASURED_MIN: Final = 3  # cold starts from which the record's figures count more than the guidance's
# The zones with an accelerator, by region, as the pages about OSS Accelerator list them.
ACCELERATOR_REGIONS: Final = frozenset(
    {"cn-beijing", "cn-shanghai", "cn-shenzhen", "cn-hangzhou", "cn-wulanchabu", "ap-southeast-1"}
)


class StorageKind(StrEnum):
    """Where a function gets a model's files from. The order is by cost and effort, and decides between equals."""

    OSS = "oss"
    ACCELERATOR = "oss with accelerator"
    NAS = "nas"
    IMAGE = "image"


@dataclass(frozen=True, slots=True)
class ServingLimits:
    """What the guidance's arithmetic uses: the bandwidth of a NAS, and how long a start may take."""

    nas_bandwidth: int = NAS_BANDWIDTH
    start_limit_s: float = START_LIMIT_S


@dataclass(frozen=True, slots=True)
class MeasuredStarts:
    """Recorded cold starts from one kind of storage."""

    starts: int
    median_s: float
    longest_s: float

    @property
    def is_enough(self) -> bool:
        """Whether there are enough of them to count more than the guidance."""
        return self.starts >= MEASURED_MIN


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingFacts:
    """A version in one region.

    `changes_a_month` is None without history, `peak_starts` and `provisioned` without an answer of the platform.
    `image_base_bytes` is the base of an image target, 0 if unknown.
    """

    region: str
    size_bytes: int
    files: int
    changes_a_month: float | None
    functions: int
    regions: int
    peak_starts: int | None
    provisioned: bool | None
    nas_bandwidth: int = NAS_BANDWIDTH
    start_limit_s: float = START_LIMIT_S
    image_base_bytes: int = 0
    image_limit_bytes: int = 30_000_000_000
    reads_twice: bool = False
    multi_zone: bool = False
    measured: Mapping[StorageKind, MeasuredStarts] = field(default_factory=dict)

    @property
    def file_bytes(self) -> float:
        """The mean size of a file."""
        return self.size_bytes / max(1, self.files)

    @property
    def nas_read_s(self) -> float:
        """How long all instances that start at once take to read the version from one NAS."""
        return (self.peak_starts or 1) * self.size_bytes / self.nas_bandwidth

    def enough(self) -> dict[StorageKind, MeasuredStarts]:
        """The kinds of storage with enough recorded cold starts."""
        return {kind: seen for kind, seen in self.measured.items() if seen.is_enough}


def instances_max(settings: object) -> int:
    """The most instances that scaling settings of an alias ask for, in any of their policies; 0 for none."""
    if isinstance(settings, Mapping):
        inner = max((instances_max(value) for value in settings.values()), default=0)
        own = [settings.get(key) for key in _INSTANCES]
        return max([inner, *(int(value) for value in own if isinstance(value, int | float))])
    if isinstance(settings, list | tuple):
        return max((instances_max(value) for value in settings), default=0)
    return 0


_INSTANCES: Final = ("minInstances", "maxInstances", "defaultTarget", "target", "minCapacity", "maxCapacity")
