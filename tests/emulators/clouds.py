"""What the tests of the local cloud agree on."""

import time
from dataclasses import dataclass

REGION, OTHER, THIRD = REGIONS = ("cn-hangzhou", "ap-southeast-1", "cn-shanghai")
BUCKET = "models-hz"
STS_KEY, STS_SECRET, STS_TOKEN = "STS.key", "sts-secret", "sts-token+/="


@dataclass
class Clock:
    """The true time, and an offset that a test sets."""

    offset_s: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.offset_s
