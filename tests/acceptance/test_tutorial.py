"""The tutorial, command by command, as a reader types it into two terminals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.acceptance.stage import LIMIT_S, ROOT, environment
from tests.support import docs

PAGE: Final = ROOT / "docs" / "tutorial" / "first-release.md"
STRICT: Final = "set -euo pipefail\n"


def typed(terminal: int) -> list[str]:
    """The blocks of one terminal, in order."""
    return [each.text for each in docs.blocks("sh") if each.page == PAGE and f"Terminal {terminal}" in each.info]


def test_every_command_of_the_tutorial_works(tmp_path: Path) -> None:
    binaries = tmp_path / "bin"
    binaries.mkdir()
    for name, line in {"syncd": f'"{sys.executable}" -m syncd "$@"', "python3": f'"{sys.executable}" "$@"'}.items():
        (binaries / name).write_text(f"#!/bin/sh\nexec {line}\n")
        (binaries / name).chmod(0o755)
    env = environment(HOME=str(tmp_path), PATH=f"{binaries}:{os.environ['PATH']}")
    prepare, cloud, clean = typed(1)
    cloud = cloud.replace("--port 9001", "--port 0 -o json")  # a port that is free
    assert "--port 0" in cloud
    first = subprocess.Popen(
        ["bash", "-c", STRICT + prepare + cloud], cwd=tmp_path, env=env, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert first.stdout is not None
        up = next(line for line in first.stdout if line.startswith(b"{"))  # after what `config init` wrote
        (endpoint,) = json.loads(up)["endpoints"].values()
        config = tmp_path / "syncd-tutorial" / "config.toml"
        config.write_text(config.read_text().replace("127.0.0.1:9001", endpoint.removeprefix("http://")))
        second = STRICT + "\n".join(typed(2))
        done = subprocess.run(
            ["bash", "-c", second],
            cwd=tmp_path / "syncd-tutorial",
            env=env,
            capture_output=True,
            text=True,
            timeout=4 * LIMIT_S,  # a dozen commands, one after another
            check=False,
        )
    finally:
        os.killpg(first.pid, signal.SIGINT)
        first.communicate(timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "exit code 4" in done.stdout
    assert re.findall(r"hello@(v[12]) is live", done.stdout)[:4] == ["v1", "v2", "v1", "v2"]
    subprocess.run(["bash", "-c", STRICT + clean], env=env, check=True)
    assert not (tmp_path / "syncd-tutorial").exists()
