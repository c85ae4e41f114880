"""A copy as a process: killed in the middle and started again, and measured."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from syncd.targets.base import Depth
from syncd.targets.versioned_tree import TreeTarget
from tests.support.cloud_process import cloud_process
from tests.support.clouds import REGION, RawBucket
from tests.support.copier import store_of
from tests.support.journals import FileJournal
from tests.support.sources import generated_manifest

MIB: Final = 1 << 20
SIZES: Final = {"unet/a.safetensors": 20 * MIB + 5, "unet/b.safetensors": 12 * MIB, "config.json": 300}
PARTS_IN_FLIGHT: Final = 3
SETTINGS: Final = {"part_bytes": MIB, "buffer_bytes": 8 * MIB, "parts_in_flight": PARTS_IN_FLIGHT}


def command(tmp_path: Path, places: dict[str, Any], sizes: dict[str, int], **settings: int) -> list[str]:
    (tmp_path / "journals").mkdir(exist_ok=True)
    order = {
        "sizes": sizes,
        "places": places,
        "journals": str(tmp_path / "journals"),
        "settings": settings,
        "tell": True,
    }
    return [sys.executable, "-m", "tests.support.copier", json.dumps(order)]


def killed_after(order: list[str], parts: int) -> int:
    """Start a copy, kill it when so many parts have been accepted, and say how many bytes those were."""
    with subprocess.Popen(order, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(parts)]
        process.send_signal(signal.SIGKILL)
        lines += [line for line in process.stdout if line.endswith("}\n")]
    assert process.returncode == -signal.SIGKILL
    return sum(int(json.loads(line)["bytes"]) for line in lines)


def finished(order: list[str]) -> dict[str, Any]:
    done = subprocess.run(order, stdout=subprocess.PIPE, text=True, check=True)
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert report["failed"] == {}
    return report


@pytest.mark.parametrize("parts", [1, 9, 23])
def test_a_killed_copy_sends_again_only_what_was_in_flight(tmp_path: Path, parts: int) -> None:
    (tmp_path / "nas").mkdir()
    with cloud_process(tmp_path / "cloud", REGION) as endpoints:
        bucket = RawBucket(endpoints[REGION])
        places = {
            "nas": {"root": str(tmp_path / "nas")},
            "oss": {"endpoint": bucket.endpoint, "bucket": bucket.name, "region": REGION},
        }
        order = command(tmp_path, places, SIZES, **SETTINGS)
        accepted = killed_after(order, parts)
        report = finished(order)
        total = sum(SIZES.values())
        sent = sum(seen["bytes_sent"] for seen in report["targets"].values())
        # Every part that was told as accepted is kept; those in flight at the kill may go twice.
        assert accepted + sent <= 2 * total + 2 * PARTS_IN_FLIGHT * MIB
        assert all(seen["bytes_sent"] + seen["bytes_kept"] == total for seen in report["targets"].values())
        manifest = generated_manifest(SIZES)
        for name, place in places.items():
            target, journal = TreeTarget(name, store_of(place)), FileJournal(tmp_path / "journals" / name)
            target.seal(manifest, journal)
            assert target.inspect(manifest, Depth.BYTES, journal).whole
            assert list(store_of(place).pending("")) == []


def test_ten_kills_at_random_points_send_no_more_twice_than_was_in_flight_each_time(tmp_path: Path) -> None:
    sizes, chance, kills = {"model.safetensors": 64 * MIB}, random.Random(7), 10
    part_bytes = MIB // 4
    with cloud_process(tmp_path / "cloud", REGION) as endpoints:
        bucket = RawBucket(endpoints[REGION])
        places = {"oss": {"endpoint": bucket.endpoint, "bucket": bucket.name, "region": REGION}}
        order = command(tmp_path, places, sizes, **{**SETTINGS, "part_bytes": part_bytes})
        told = sum(killed_after(order, chance.randint(5, 22)) for _ in range(kills))
        report = finished(order)
        seen = report["targets"]["oss"]
        total = sum(sizes.values())
        assert told + seen["bytes_sent"] <= total + kills * PARTS_IN_FLIGHT * part_bytes
        assert seen["bytes_kept"] >= told
        assert seen["bytes_sent"] + seen["bytes_kept"] == total
        assert bucket.uploads() == set()


def test_memory_does_not_grow_with_the_model_or_the_targets(tmp_path: Path) -> None:
    regions = (REGION, "cn-shanghai")
    with cloud_process(tmp_path / "cloud", *regions) as endpoints:
        buckets = {region: RawBucket(endpoints[region], region=region) for region in regions}
        places = {
            region: {"endpoint": bucket.endpoint, "bucket": bucket.name, "region": region}
            for region, bucket in buckets.items()
        }
        order = command(tmp_path, places, {f"{n}.safetensors": 64 * MIB for n in range(3)})
        report = finished(order)
    assert report["rss_bytes"] < 200_000_000  # with the default buffers
