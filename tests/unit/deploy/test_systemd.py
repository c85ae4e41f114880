"""The systemd unit: systemd understands every line of it, and its times and sizes fit the settings."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from syncd.config import PolicySettings, StateSettings, TransferSettings

SYSTEMD = Path(__file__).parents[3] / "deploy" / "systemd"
UNIT = SYSTEMD / "syncd.service"
MIB = 1 << 20


def setting(name: str) -> str:
    (value,) = re.findall(rf"(?m)^{name}=(.*)$", UNIT.read_text())
    return str(value)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit, with its program where there is one."""
    program = tmp_path / "syncd"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/syncd/bin/syncd", str(program)))
    return unit


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if not program:
        missing = "systemd-analyze is not installed; it is in Debian's package systemd"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    environ = {**os.environ, "SYSTEMD_LOG_LEVEL": "warning", "SYSTEMD_COLORS": "0"}
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, env=environ, timeout=60)


def test_systemd_understands_the_unit(installed: Path) -> None:
    run = analyze("verify", "--man=no", str(installed))
    about_ours = [line for line in (run.stdout + run.stderr).splitlines() if installed.name in line]
    assert about_ours == []
    assert run.returncode == 0, run.stderr


def test_a_mistake_in_the_unit_would_be_noticed(installed: Path) -> None:
    installed.write_text(installed.read_text().replace("ProtectHome=yes", "ProtectHome=perhaps\nNoSuchSetting=1"))
    run = analyze("verify", "--man=no", str(installed))
    assert "protect home" in run.stderr
    assert "NoSuchSetting" in run.stderr


def test_the_unit_is_well_confined(installed: Path) -> None:
    run = analyze("security", "--offline=true", "--no-pager", "--threshold=25", str(installed))
    assert run.returncode == 0, run.stdout[-400:]


def test_stopping_may_take_as_long_as_draining_and_leaving() -> None:
    assert int(setting("TimeoutStopSec")) == PolicySettings().drain_s + 15


def test_the_watchdog_waits_for_many_ticks() -> None:
    assert int(setting("WatchdogSec")) >= 20 * PolicySettings().tick_s


def test_memory_holds_the_buffers_and_the_process_twice() -> None:
    assert int(setting("MemoryMax").removesuffix("M")) * MIB >= 2 * (TransferSettings().buffer_bytes + 120 * MIB)


def test_the_state_directory_is_where_the_default_record_is() -> None:
    assert StateSettings().url.startswith(f"sqlite:////var/lib/{setting('StateDirectory')}/")


def test_the_user_is_made_by_sysusers() -> None:
    assert f"u {setting('User')} " in (SYSTEMD / "syncd.sysusers").read_text()
