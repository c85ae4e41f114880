"""The systemd unit: systemd understands every line of it, and its times and sizes fit the settings."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from syncd.cli.exit_codes import Exit
from syncd.config import PolicySettings, StateSettings, TransferSettings

SYSTEMD = Path(__file__).parents[3] / "deploy" / "systemd"
UNIT = SYSTEMD / "syncd.service"
UNITS = sorted(SYSTEMD.glob("*.service"))
MIB = 1 << 20


def setting(name: str, unit: Path = UNIT) -> str:
    (value,) = re.findall(rf"(?m)^{name}=(.*)$", unit.read_text())
    return str(value)


@pytest.fixture(params=UNITS, ids=lambda unit: unit.name)
def installed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A unit, with its program where there is one. A template is an instance of it."""
    source: Path = request.param
    program = tmp_path / "syncd"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / source.name.replace("@.", "@cn-shanghai.")
    unit.write_text(source.read_text().replace("/opt/syncd/bin/syncd", str(program)))
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


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_stopping_may_take_as_long_as_draining_and_leaving(unit: Path) -> None:
    assert int(setting("TimeoutStopSec", unit)) == PolicySettings().drain_s + 15


def test_the_watchdog_waits_for_many_ticks() -> None:
    assert int(setting("WatchdogSec")) >= 20 * PolicySettings().tick_s


def test_memory_holds_the_buffers_and_the_process_twice() -> None:
    assert int(setting("MemoryMax").removesuffix("M")) * MIB >= 2 * (TransferSettings().buffer_bytes + 120 * MIB)


def test_the_state_directory_is_where_the_default_record_is() -> None:
    assert StateSettings().url.startswith(f"sqlite:////var/lib/{setting('StateDirectory')}/")


def test_the_user_is_made_by_sysusers() -> None:
    assert f"u {setting('User')} " in (SYSTEMD / "syncd.sysusers").read_text()


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_each_unit_starts_a_command_that_there_is(unit: Path) -> None:
    words = setting("ExecStart", unit).replace("%i", "cn-shanghai").split()
    assert words[0] == "/opt/syncd/bin/syncd"
    called = subprocess.run(
        [sys.executable, "-m", "syncd", *words[1:-1], "/nowhere.toml"], capture_output=True, text=True, check=False
    )
    assert called.returncode == Exit.USAGE
    assert "/nowhere.toml" in called.stderr, "the options are taken, and the configuration is missed"


def test_a_fleet_is_a_controller_and_a_worker_for_each_region() -> None:
    assert [unit.name for unit in UNITS] == ["syncd-controller.service", "syncd-worker@.service", "syncd.service"]
    controller, worker, alone = (setting("ExecStart", unit) for unit in UNITS)
    assert "--role controller" in controller
    assert "worker --region %i" in worker
    assert "--role" not in alone
    assert all("db upgrade" not in unit.read_text().partition("[Service]")[2] for unit in UNITS[:2])
