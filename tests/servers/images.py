"""Images by other people's tools: umoci makes a base with this machine's Python in it, and unpacks what was baked."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import syncd.localcloud

from tests.emulators.distribution import PASSWORD, USER, Distribution

BASE: Final = "bases/python"
_FUNCTION: Final = Path(syncd.localcloud.__file__).parent / "example_function.py"
_LIBRARY: Final = re.compile(r"(?:=> |^\s*)(/\S+) \(0x", re.MULTILINE)
_LEFT_OUT: Final = (
    "__pycache__", "config-*", "dist-packages", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages",
    "test", "tests", "tkinter", "turtledemo",
)  # fmt: skip
# The function that every page shows, on a port that the kernel chooses and of loopback alone.
_SERVE: Final = """import os
from http.server import ThreadingHTTPServer

import function

function.ExampleHandler.models = function.LoadedModels(dict(os.environ))
server = ThreadingHTTPServer(("127.0.0.1", 0), function.ExampleHandler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


def tool(*command: str | Path) -> str:
    """Run a program to its end, and give what it says."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}{done.stdout}"
    return done.stdout


def make_base(home: Path, model: str) -> Path:
    """An image of two layers, Python and a server of `model`, as a layout with the tag `made`."""
    layout, image = home / "layout", f"{home / 'layout'}:made"
    python = _python(home / "root")
    server = home / "server"
    server.mkdir()
    shutil.copyfile(_FUNCTION, server / "function.py")
    (server / "serve.py").write_text(_SERVE)
    tool("umoci", "init", "--layout", layout)
    tool("umoci", "new", "--image", image)
    tool("umoci", "insert", "--rootless", "--image", image, home / "root", "/")
    tool("umoci", "insert", "--rootless", "--image", image, server, "/srv")
    run = ["--config.cmd", python, "--config.cmd", "/srv/serve.py"]
    env = ["--config.env", f"MODELS={model}=SYNCD_PATH", "--config.env", "PYTHONUNBUFFERED=1"]
    tool("umoci", "config", "--image", image, *run, *env)
    return layout


def push(layout: Path, house: Distribution, name: str = f"{BASE}:1.0") -> str:
    """Bring an image there by skopeo. Gives its name with the registry's."""
    to = f"{house.origin.removeprefix('http://')}/{name}"
    login = ["--dest-creds", f"{USER}:{PASSWORD}"] if house.login else []
    tool("skopeo", "copy", "--quiet", "--dest-tls-verify=false", *login, f"oci:{layout}:made", f"docker://{to}")
    return to


def inspect(image: str, *, login: bool) -> dict[str, Any]:
    """What skopeo says of it."""
    known = ["--creds", f"{USER}:{PASSWORD}"] if login else []
    found: dict[str, Any] = json.loads(tool("skopeo", "inspect", "--tls-verify=false", *known, f"docker://{image}"))
    return found


def pull(image: str, layout: Path, *, login: bool) -> None:
    """Have skopeo copy it to a folder."""
    known = ["--src-creds", f"{USER}:{PASSWORD}"] if login else []
    tool("skopeo", "copy", "--quiet", "--src-tls-verify=false", *known, f"docker://{image}", f"oci:{layout}:made")


@dataclass(frozen=True)
class Bundle:
    """An image as umoci unpacked it: its files, and what a runtime is to run."""

    root: Path
    process: dict[str, Any]

    @contextmanager
    def running(self) -> Iterator[str]:
        """Its server, with nothing of this machine's files and variables, while entered. Gives its address."""
        inside = ["chroot", str(self.root), *self.process["args"]]
        command = inside if os.geteuid() == 0 else ["unshare", "--map-root-user", *inside]
        # chroot itself is looked for with this process's own variables; what it runs is given whole.
        env = dict(each.partition("=")[::2] for each in self.process["env"])
        with subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                port = server.stdout.readline().strip()
                assert port, f"{command} ended with {server.wait()}"
                yield f"http://127.0.0.1:{port}"
            finally:
                server.kill()


def unpack(layout: Path, into: Path) -> Bundle:
    """Have umoci unpack it."""
    tool("umoci", "unpack", "--rootless", "--image", f"{layout}:made", into)
    return Bundle(into / "rootfs", json.loads((into / "config.json").read_text())["process"])


def _python(root: Path) -> str:
    """Copy the machine's Python and every library that it opens, where they lie here. Gives the path of the program."""
    program = Path(sys.base_prefix, "bin", f"python{sysconfig.get_python_version()}").resolve()
    stdlib = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(
        stdlib, _below(root, stdlib), ignore=shutil.ignore_patterns(*_LEFT_OUT), ignore_dangling_symlinks=True
    )
    own = [program, *(stdlib / "lib-dynload").glob("*.so")]
    for library in {program, *map(Path, _LIBRARY.findall(tool("ldd", *own)))}:
        place = _below(root, library)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, place)
    return str(program)


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")
