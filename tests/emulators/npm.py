"""Node packages for tests, installed once for a user and kept."""

import fcntl
import os
import subprocess
from pathlib import Path

from tests.support.authorities import outside

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "syncd-tests" / "npm"


def installed(package: str) -> Path:
    """The directory whose `node_modules` holds `package` (`name@major`).

    Safe to ask for from several processes at once; a half-done installation is done again.
    """
    root = _CACHE / package.replace("/", "+")
    root.mkdir(parents=True, exist_ok=True)
    done = root / "installed"
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            # Without a lock file: one that names another registry makes npm hang for minutes.
            command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", package]
            subprocess.run(command, cwd=root, env=outside(), check=True, capture_output=True, timeout=300)
            done.touch()
    return root
