"""A whole release by one command, from the registry to live: how much memory it takes, whatever the model's size.

python -m bench.publish --sizes-mb 2000 20000 --regions 1 5

The regions are the local cloud's, which keeps all bytes: each size is needed on the disk once for each region.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from bench.fleet import MODEL, Fleet

_MB = 1_000_000


def main() -> None:
    """Publish one version of each size to each number of regions, without a daemon and with default settings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes-mb", type=int, nargs="+", default=[2000])
    parser.add_argument("--regions", type=int, nargs="+", default=[1, 5])
    given = parser.parse_args()
    for size_mb in given.sizes_mb:
        for regions in given.regions:
            print(_told(size_mb, regions), flush=True)


def _told(size_mb: int, regions: int) -> str:
    with tempfile.TemporaryDirectory() as directory:
        topology = Fleet(Path(directory), regions, 1)
        with topology.up(daemon=False):
            topology.deliver_sparse("big", size_mb * _MB)
            cost = topology.measured("publish", f"{MODEL}@big", "--wait")
    if f"{MODEL}@big is live" not in cost.said:
        raise SystemExit(f"it is not live: {cost.said[-2000:]}")
    return (
        f"publish: {size_mb} MB, live in {regions} regions: peak RSS {cost.rss_bytes / _MB:.0f} MB,"
        f" {cost.wall_s:.1f} s, {cost.cpu_s:.1f} s of CPU"
    )


if __name__ == "__main__":
    main()
