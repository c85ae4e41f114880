"""The package itself: its layout, the example function as a script, and the extra that installs what it needs."""

import ast
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.metadata import distribution
from pathlib import Path

import pytest
import syncd.localcloud
from packaging.requirements import Requirement
from syncd.localcloud import EXAMPLE_FUNCTION

ROOT = Path(syncd.localcloud.__file__).parent
REPOSITORY = ROOT.parents[1]
FILES_MAX = 14


def test_no_folder_holds_too_many_modules_and_every_package_has_a_public_face() -> None:
    for init in ROOT.rglob("__init__.py"):
        assert len(list(init.parent.glob("*.py"))) <= FILES_MAX, init.parent
        tree = ast.parse(init.read_text())
        assert ast.get_docstring(tree), init
        names = [node.targets[0] for node in tree.body if isinstance(node, ast.Assign)]
        assert [name.id for name in names if isinstance(name, ast.Name)] == ["__all__"], init


def test_no_module_hides_one_of_the_standard_library() -> None:
    names = {path.stem for path in ROOT.rglob("*.py")} | {path.name for path in ROOT.rglob("*") if path.is_dir()}
    assert not names & sys.stdlib_module_names


@pytest.mark.parametrize("place", ["package", "repository"])
def test_the_example_function_runs_as_a_script(place: str, tmp_path: Path) -> None:
    script, cwd = ("example_function.py", ROOT) if place == "package" else (
        "syncd/localcloud/example_function.py", REPOSITORY
    )  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {"FC_CUSTOM_LISTEN_PORT": str(port), "LOCALCLOUD_ROOT": str(tmp_path), "PATH": os.environ["PATH"]}
    process = subprocess.Popen([sys.executable, script], cwd=cwd, env=environment)
    try:
        assert _answer(f"http://127.0.0.1:{port}/health", process) == {"healthy": True}
    finally:
        process.kill()
        process.wait()


def _answer(url: str, process: "subprocess.Popen[bytes]") -> object:
    """The JSON at a URL, once the process serves it."""
    for _ in range(200):
        assert process.poll() is None, f"ended with {process.returncode}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"{url} does not answer")


def test_the_extra_local_is_all_that_the_local_cloud_needs(tmp_path: Path) -> None:
    needed, seen = _requirements("syncd", {"", "local"}), set[str]()
    while needed - seen:
        name = (needed - seen).pop()
        seen.add(name)
        needed |= _requirements(name, {""})
        installed = distribution(name)
        for top in {file.parts[0] for file in installed.files or () if ".." not in file.parts}:
            link = tmp_path / "site" / top
            link.parent.mkdir(exist_ok=True)
            if not link.exists():
                link.symlink_to(Path(str(installed.locate_file(top))))
    assert "sqlalchemy" not in seen
    environment = {"PYTHONPATH": f"{REPOSITORY}{os.pathsep}{tmp_path / 'site'}", "PATH": os.environ["PATH"]}
    command = [sys.executable, "-S", "-P", "-m", "syncd", "local", "up", "--port", "0", "-o", "json"]
    process = subprocess.Popen(
        [*command, "--root", str(tmp_path / "cloud")], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        up = json.loads(process.stdout.readline())
        assert set(up["endpoints"]) == {"cn-hangzhou", "cn-shanghai"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()


def _requirements(name: str, extras: set[str]) -> set[str]:
    every = [Requirement(each) for each in distribution(name).requires or ()]
    return {
        each.name.lower()
        for each in every
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras)
    }


def test_the_extra_server_includes_the_extra_local() -> None:
    assert _requirements("syncd", {"local"}) <= _requirements("syncd", {"server"})


def test_the_package_names_its_example_function() -> None:
    assert EXAMPLE_FUNCTION.is_file()
