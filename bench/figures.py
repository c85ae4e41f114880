"""From samples to figures: medians with their spread, ratios of medians, slopes, and the verdict on each target."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench.trials import Sample

ONE, THREE, SMALL = "one bucket", "three buckets", "small files"


@dataclass(frozen=True, slots=True)
class Spread:
    """Of one figure over the rounds."""

    median: float
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure of syncd may be at most, as a multiple of the others'; the least of these counts."""

    what: str
    trial: str
    figure: str
    others: tuple[str, ...]
    most: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """`ratio` is None where a contender is missing: then nothing was shown."""

    target: Target
    ratio: float | None

    @property
    def is_met(self) -> bool:
        return self.ratio is not None and self.ratio <= self.target.most


_CHECKING = ("s5cmd", "rclone", "rclone, lean", "oss2", "oss-v2")  # whoever checks nothing is no rival
TARGETS = (
    Target("CPU, compared with s5cmd", ONE, "cpu_s", ("s5cmd",), 0.70),
    Target("CPU, compared with rclone", ONE, "cpu_s", ("rclone",), 0.45),
    Target("wall, compared with the fastest that checks what it sends", ONE, "wall_s", _CHECKING, 1.0),
    Target("CPU, compared with three runs of s5cmd", THREE, "cpu_s", ("s5cmd",), 0.33),
    Target("wall, compared with three runs of s5cmd", THREE, "wall_s", ("s5cmd",), 0.6),
    Target("wall, compared with rclone", SMALL, "wall_s", ("rclone",), 1.0),
)


def spread(samples: Sequence[Sample], trial: str, contender: str, figure: str) -> Spread | None:
    """Of one contender in one trial; None if it was not in it."""
    values = [getattr(s, figure) for s in samples if (s.trial, s.contender) == (trial, contender)]
    return Spread(median(values), min(values), max(values)) if values else None


def verdicts(samples: Sequence[Sample]) -> list[Verdict]:
    """One for each target, in their order."""
    return [Verdict(target, _ratio(samples, target)) for target in TARGETS]


def _ratio(samples: Sequence[Sample], target: Target) -> float | None:
    own = spread(samples, target.trial, "syncd", target.figure)
    others = [spread(samples, target.trial, name, target.figure) for name in target.others]
    there = [other.median for other in others if other is not None]
    return own.median / min(there) if own and there else None


def slope(points: Mapping[float, float]) -> tuple[float, float]:
    """Least squares: what a unit costs, and what is paid before the first."""
    mean_x, mean_y = sum(points) / len(points), sum(points.values()) / len(points)
    spread_x = sum((x - mean_x) ** 2 for x in points)
    each = sum((x - mean_x) * (y - mean_y) for x, y in points.items()) / spread_x
    return each, mean_y - each * mean_x


def medians(samples: Sequence[Sample], key: Callable[[Sample], float], figure: str) -> dict[float, float]:
    """The median of a figure for each value of `key`, ascending."""
    groups: dict[float, list[float]] = {}
    for sample in samples:
        groups.setdefault(key(sample), []).append(getattr(sample, figure))
    return {x: median(values) for x, values in sorted(groups.items())}
