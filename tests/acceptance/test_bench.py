"""The benchmark from end to end, as small as it goes, with the clients that the tests have."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bench.contenders import ROOT

CLIENTS = ("syncd, sealed", "oss2", "oss-v2")


def test_every_client_brings_every_byte_and_the_page_says_what_it_cost(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "--scale", "0.002", "--rounds", "0", "--small-files", "1"]
    command += [
        "--check-every",
        "1",
        "--no-growth",
        "--trial",
        "one bucket",
        "--data",
        str(tmp_path / "data"),
        "--out",
        str(tmp_path / "out"),
    ]
    command += [f"--only={name}" for name in CLIENTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    samples = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {(sample["trial"], sample["contender"]) for sample in samples} == {("one bucket", name) for name in CLIENTS}
    for sample in samples:
        assert 81_140_000 < sample["wire_bytes"] < 81_240_000  # the ten files, and the heads of some requests
        assert sample["rss_bytes"] > 10_000_000
        assert sample["cpu_s"] > 0.1
    page = (tmp_path / "out" / "results.md").read_text()
    assert "## One bucket" in page
    assert "| not measured |" in page  # no rival is here, so nothing is claimed


@pytest.mark.needs_docker_registry
def test_every_builder_makes_an_image_and_the_page_says_what_it_cost_or_why_one_is_left_out(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.images", "--size-mb", "1", "--rounds", "0"]
    command += ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    built = [json.loads(line) for line in done.stdout.splitlines()]
    assert built[0]["builder"] == "syncd"
    assert all(each["cpu_s"] > 0.05 and each["rss_bytes"] > 5_000_000 for each in built)
    page = (tmp_path / "out" / "images.md").read_text()
    assert ("| buildah | " in page) is (len(built) == 2)
    assert len(built) == 2 or "buildah: " in page.partition("Left out: ")[2]
    assert shutil.which("buildah") or len(built) == 1
