"""What is shipped: the wheel, installed where there is no source tree."""

from __future__ import annotations

import hashlib
import os
import shutil
import site
import subprocess
import sys
import zipfile
from importlib.metadata import PathDistribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.acceptance.stage import ROOT, environment
from tests.emulators.web import Web, as_json


def built(work: Path) -> Path:
    """The wheel, built from a copy of the tree below `work`."""
    source = work / "source"
    ignored = shutil.ignore_patterns(".*", "tests", "bench", "dist", "__pycache__")
    shutil.copytree(ROOT, source, ignore=ignored, copy_function=shutil.copyfile)  # with this moment's times and modes
    build = [sys.executable, "-c", "from hatchling.build import build_wheel; print(build_wheel('../dist'))"]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    (wheel,) = (work / "dist").glob("syncd-*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("wheel"))


def test_two_builds_of_the_same_tree_are_equal_wheels(wheel: Path, tmp_path: Path) -> None:
    again = built(tmp_path)
    assert again.parent != wheel.parent
    assert hashlib.sha256(again.read_bytes()).hexdigest() == hashlib.sha256(wheel.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel's package in it and nothing else of ours."""
    work = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert any(name.startswith("syncd/migrations/versions/") and name.endswith(".py") for name in names)
    assert "syncd/py.typed" in names
    assert {"syncd/ui/templates/base.html", "syncd/ui/static/htmx.min.js", "syncd/ui/static/htmx.LICENSE"} <= set(names)
    assert not any(name.startswith(("tests/", "bench/")) for name in names)
    assert any(name.endswith(".dist-info/sboms/syncd.cdx.json") for name in names)
    target = work / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    assert (target / "share/man/man1/syncd.1").read_bytes() == (ROOT / "deploy/man/syncd.1").read_bytes()
    return target


def command(installed: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    paths = [str(installed), *site.getsitepackages()]
    env = environment(PYTHONPATH=os.pathsep.join(paths), SYNCD_CONFIG=str(cwd / "config.toml"))
    # -P: the directory of the script is not looked at, and ours is in front of an editable install
    return subprocess.run(
        [sys.executable, str(installed / "bin" / "syncd"), *arguments],
        env=env, cwd=cwd, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def light(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with what `pip install syncd` would bring, and what that needs in turn; nothing of an extra."""
    target = tmp_path_factory.mktemp("light")
    (metadata,) = installed.glob("syncd-*.dist-info")
    needed = wanted(PathDistribution(metadata).requires)
    assert needed == {"httpx", "rich", "typer"}
    todo, seen = set(needed), set()
    while todo:
        name = todo.pop()
        seen.add(name)
        found = distribution(name)
        todo |= wanted(found.requires) - seen
        for top in {file.parts[0] for file in found.files or () if ".." not in file.parts}:
            if not (target / top).exists():
                (target / top).symlink_to(Path(str(found.locate_file(top))))
    return target


def wanted(requires: list[str] | None) -> set[str]:
    """What is needed without any extra."""
    found = (Requirement(each) for each in requires or ())
    return {each.name.lower() for each in found if each.marker is None or each.marker.evaluate({"extra": ""})}


def with_little(light: Path, installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the light installation, the standard library, and no other package."""
    env = environment(PYTHONPATH=os.pathsep.join([str(installed), str(light)]), SYNCD_TOKEN="a-token")
    command = [sys.executable, "-S", "-P", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_a_pipeline_needs_little_to_be_installed(light: Path, installed: Path) -> None:
    when = "2026-03-01T12:00:00+00:00"
    told = {"release": "r-1", "model": "m", "version": "v1", "phase": "live", "rollback": False, "reason": ""}
    told |= {"hint": "", "created_at": when, "updated_at": when}
    syncd = str(installed / "bin" / "syncd")
    done = with_little(light, installed, "-c", "import sys; from syncd.client import Client; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    assert not {"sqlalchemy", "pydantic", "starlette"} & set(done.stdout.split())
    helped = with_little(light, installed, syncd, "publish", "--server", "http://127.0.0.1:9", "--help")
    assert (helped.returncode, "Exit codes: 0 live" in helped.stdout) == (0, True), helped.stderr
    with Web(lambda _: as_json(told)) as web:
        for words in (("publish", "m@v1", "--wait"), ("rollback", "m"), ("cancel", "r-1")):
            done = with_little(light, installed, syncd, *words, "--server", web.origin)
            assert (done.returncode, "r-1 m@v1" in done.stdout) == (0, True), done.stderr
    alone = with_little(light, installed, syncd, "status")
    assert alone.returncode == 2
    assert "pip install 'syncd[server]'" in alone.stderr
    assert "Traceback" not in alone.stderr


EVERY_VERB = """import inspect, sys
from syncd.client import Client
calls = {
    "publish": ("m", "v1"), "rollback": ("m",), "cancel": ("r-1",), "approve": ("r-1",), "hold": ("m",),
    "unhold": ("m",),
    "freeze": (), "unfreeze": (), "release": ("r-1",), "history": ("r-1",), "releases": (), "models": (), "status": (),
    "drift": (), "publish_named": ("m-v1",), "dismiss": ("r-1",), "retry": (), "versions": ("m",), "plan": ("m",),
    "version": ("m", "v1"),
    "events": (), "repair": ("m",), "repairs": ("m",), "wait": ("r-1",), "health": (),
    "verification": (), "starts": (), "advice": ("m",), "lease": ("training", "m", "v1"), "end_lease": ("training",),
    "close": (),
}
named = {"lease": {"hours": 2.0}}
public = {name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")}
assert public == calls.keys(), public ^ calls.keys()
with Client(sys.argv[1], "a-token") as client:
    print(*(type(getattr(client, name)(*given, **named.get(name, {}))).__name__ for name, given in calls.items()))
"""


def test_every_verb_of_the_client_works_with_little(light: Path, installed: Path) -> None:
    when = "2026-03-01T12:00:00+00:00"
    told = {
        "release": "r-1",
        "model": "m",
        "version": "v1",
        "phase": "live",
        "rollback": False,
        "reason": "",
        "hint": "",
    }
    told |= {"created_at": when, "updated_at": when, "at": when, "since": when, "until": when, "lifted": True}
    told |= {"who": "ci", "why": "", "digest": "d", "releases": [], "models": [], "requested_by": "ci", "rollout": None}
    told |= {"repairs": [], "name": "training", "ended": True}
    told |= {key: [] for key in ("targets", "bindings", "left_behind", "stuck", "steps", "first_answers", "events")}
    with Web(lambda _: as_json(told)) as web:
        done = with_little(light, installed, "-c", EVERY_VERB, web.origin)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        *("ReleaseInfo",) * 3, "ApprovalInfo", "HoldInfo", "bool", "FreezeInfo", "bool", "ReleaseInfo",
        "ReleaseHistoryInfo", "list", "list", "dict", "dict", "ReleaseInfo",
        "ReleaseInfo", "list", "dict", "dict", "dict", "generator", "list", "list", "ReleaseInfo", "dict",
        "dict", "dict", "dict", "LeaseInfo", "bool", "NoneType",
    ]  # fmt: skip


def test_the_installed_command_makes_a_record_and_checks_a_configuration(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(f'[state]\nurl = "sqlite:///{tmp_path / "syncd.db"}"\n')
    told = command(installed, "--version", cwd=tmp_path)
    assert (told.returncode, told.stdout) == (0, "syncd 0.2.0\n"), told.stderr
    created = command(installed, "db", "create", cwd=tmp_path)
    assert created.returncode == 0, created.stderr
    assert created.stdout == "created\n"
    again = command(installed, "db", "upgrade", cwd=tmp_path)
    assert "up to date" in again.stdout
    checked = command(installed, "config", "check", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert command(installed, "status", cwd=tmp_path).returncode == 0
    made = command(installed, "config", "init", "-c", "first.toml", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "first.toml").read_text() == (ROOT / "config.example.toml").read_text()
    assert command(installed, "config", "init", "-c", "first.toml", cwd=tmp_path).returncode == 9
    where = [sys.executable, "-c", "import syncd; print(syncd.__file__)"]
    env = environment(PYTHONPATH=str(installed))
    found = subprocess.run(where, env=env, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert Path(found.strip()).is_relative_to(installed)
