"""A release of 2 GB to three regions, by the installed command: what it takes of memory."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.support.fleet import MODEL, Fleet

SIZE_BYTES: Final = 2_000_000_000
RSS_MAX_BYTES: Final = 200_000_000


def test_a_release_of_2_gb_stays_under_200_mb_of_memory(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, timeout_s=300.0)  # a function reads 2 GB before it answers
    fleet.make()
    _use_the_defaults(fleet.config_file)
    try:
        _deliver(tmp_path / "registry" / MODEL / "big")
        status, peak_bytes = _publish(fleet, f"{MODEL}@big")
    finally:
        fleet.stop()
    print(f"\npeak RSS of a 2 GB release to three regions: {peak_bytes / 1e6:.0f} MB")  # noqa: T201 -- the figure
    assert status == 0
    assert peak_bytes < RSS_MAX_BYTES


def _use_the_defaults(config: Path) -> None:
    text = config.read_text()
    config.write_text(text.replace('parts_in_flight = 4\nbuffer_bytes = "64MiB"\n', ""))
    assert config.read_text() != text


def _deliver(version: Path) -> None:
    """A model of 2 GB that takes no disk at its source: a real header, then zeros."""
    version.mkdir(parents=True)
    tensor = {"dtype": "F32", "shape": [SIZE_BYTES // 4], "data_offsets": [0, SIZE_BYTES]}
    header = json.dumps({"weight": tensor}).encode()
    with (version / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + SIZE_BYTES)
    (version / "READY").touch()


def _publish(fleet: Fleet, version: str) -> tuple[int, int]:
    """The exit status, and the peak RSS in bytes; without the coverage tool, whose memory is not ours."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE")}
    environment |= fleet.environment
    command = [sys.executable, "-m", "syncd", "publish", version, "--wait", "-c", str(fleet.config_file)]
    process = subprocess.Popen(command, env=environment)
    peak_bytes = 0
    while process.poll() is None:
        peak_bytes = max(peak_bytes, _high_water_bytes(process.pid))
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    return process.returncode, peak_bytes


def _high_water_bytes(pid: int) -> int:
    """VmHWM: the rusage of a child begins with what its parent had before exec."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
