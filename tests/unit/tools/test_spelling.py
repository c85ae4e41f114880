"""The check of spelling: it reads what is ours, whatever `make demo` and other targets have left in the tree."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
MISSPELT = "xteh"[1:]  # this file is checked too


def _checked(where: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "codespell_lib"], cwd=where, capture_output=True, text=True, check=False, timeout=60
    )


def test_what_git_ignores_is_not_checked(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for ignored in (ROOT / ".gitignore").read_text().splitlines():
        path = tmp_path / ignored.replace("*", "x")
        if ignored.endswith("/"):
            path.mkdir()
            path /= "data"
        path.write_text(MISSPELT)
    done = _checked(tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    (tmp_path / "ours.md").write_text(MISSPELT)
    assert "ours.md" in _checked(tmp_path).stdout
