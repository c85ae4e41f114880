"""What is shipped: the wheel, installed where there is no source tree."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.acceptance.stage import ROOT, environment

pytest.importorskip("hatchling", reason="what builds the wheel")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel's package in it and nothing else of ours."""
    work = tmp_path_factory.mktemp("wheel")
    source = work / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "tests", "bench", "dist", "__pycache__"))
    build = [sys.executable, "-c", "from hatchling.build import build_wheel; print(build_wheel('../dist'))"]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    (wheel,) = (work / "dist").glob("syncd-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert any(name.startswith("syncd/migrations/versions/") and name.endswith(".py") for name in names)
    assert "syncd/py.typed" in names
    assert not any(name.startswith(("tests/", "bench/")) for name in names)
    target = work / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    return target


def command(installed: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    paths = [str(installed), *site.getsitepackages()]
    env = environment(PYTHONPATH=os.pathsep.join(paths), SYNCD_CONFIG=str(cwd / "config.toml"))
    # -P: the directory of the script is not looked at, and ours is in front of an editable install
    return subprocess.run(
        [sys.executable, str(installed / "bin" / "syncd"), *arguments],
        env=env, cwd=cwd, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_installed_command_makes_a_record_and_checks_a_configuration(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(f'[state]\nurl = "sqlite:///{tmp_path / "syncd.db"}"\n')
    told = command(installed, "--version", cwd=tmp_path)
    assert (told.returncode, told.stdout) == (0, "syncd 0.1.0\n"), told.stderr
    upgraded = command(installed, "db", "upgrade", cwd=tmp_path)
    assert upgraded.returncode == 0, upgraded.stderr
    assert "upgraded: 0001" in upgraded.stdout
    again = command(installed, "db", "upgrade", cwd=tmp_path)
    assert "up to date" in again.stdout
    checked = command(installed, "config", "check", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert command(installed, "status", cwd=tmp_path).returncode == 0
    where = [sys.executable, "-c", "import syncd; print(syncd.__file__)"]
    env = environment(PYTHONPATH=str(installed))
    found = subprocess.run(where, env=env, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert Path(found.strip()).is_relative_to(installed)
