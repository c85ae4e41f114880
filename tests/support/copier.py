"""A process that copies a generated model, to be measured and to be killed.

Its only argument is a JSON object (see `run`); it prints another one when it is done, and `{"sent": n}` lines
before, if asked to, each time `n` parts have been accepted.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from threading import Event
from typing import Any

from syncd.artifact.names import FilePath
from syncd.store.base import Store
from syncd.store.nas.store import NasSettings, NasStore
from syncd.targets.versioned_tree import TreeTarget
from syncd.transfer import CopySettings, Destination, Progress, copy

from tests.support.clouds import RawBucket
from tests.support.journals import FileJournal
from tests.support.sources import generated, generated_manifest


class Telling(Progress):
    """Says each accepted part at once."""

    def sent(self, target: str, path: FilePath, size_bytes: int) -> None:
        super().sent(target, path, size_bytes)
        sys.stdout.write(json.dumps({"target": target, "path": path, "bytes": size_bytes}) + "\n")
        sys.stdout.flush()


def peak_rss_bytes() -> int:
    """Of this program alone: `ru_maxrss` begins with what the parent had when it forked."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def store_of(place: dict[str, str]) -> Store:
    if "root" in place:
        return NasStore(NasSettings(Path(place["root"])))
    return RawBucket(place["endpoint"], place["bucket"], place["region"]).store(read_timeout_s=60.0)


def run(
    sizes: dict[str, int], places: dict[str, dict[str, str]], journals: str, settings: dict[str, Any], *, tell: bool
) -> dict[str, Any]:
    manifest = generated_manifest(sizes)
    destinations = [
        Destination(TreeTarget(name, store_of(place)), FileJournal(Path(journals) / name))
        for name, place in places.items()
    ]
    progress = (Telling if tell else Progress)(manifest, places)
    began, cpu = time.monotonic(), time.process_time()
    report = copy(manifest, generated, destinations, CopySettings(**settings), progress=progress, stop=Event())
    return {
        "failed": {name: str(error) for name, error in report.failed.items()},
        "targets": {name: seen.counters() for name, seen in report.targets.items()},
        "wall_s": time.monotonic() - began,
        "cpu_s": time.process_time() - cpu,
        "rss_bytes": peak_rss_bytes(),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(**json.loads(sys.argv[1]))) + "\n")
