"""A Hub that other people wrote: olah, as it serves a Git repository with large files, without the internet."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.servers.programs import environment, program, serving

_LARGE_BYTES: Final = 1 << 20  # from here on a file is a large one, as the Hub's own rule is for weights
_AUTHOR: Final = {"NAME": "trainer", "EMAIL": "trainer@example.com"}


@dataclass(frozen=True)
class Olah:
    """A running one."""

    origin: str
    root: Path

    def commit(self, model: str, tag: str, files: Mapping[str, bytes]) -> str:
        """What a push does: a commit of these files and no others, and a tag. Gives its sha."""
        home = self.root / "mirror" / "models" / model
        if not home.exists():
            home.mkdir(parents=True)
            _git(home, "init", "--quiet", "--initial-branch", "main")
        else:
            _git(home, "rm", "-r", "--quiet", ".")
        for path, data in files.items():
            place = home / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data if len(data) < _LARGE_BYTES else _pointer(home, data))
        _git(home, "add", "--all", "--force", ".")
        _git(home, "commit", "--quiet", "--message", tag)
        _git(home, "tag", tag)
        return _git(home, "rev-parse", "HEAD").strip()


@contextmanager
def olah_server(root: Path) -> Iterator[Olah]:
    """One that serves what is committed to it, while entered."""
    config = root / "olah.toml"
    config.write_text(
        f"""[basic]
host = "127.0.0.1"
port = 0
repos-path = "{root / "cache"}"
mirrors-path = ["{root / "mirror"}"]

[accessibility]
offline = true
"""
    )
    command = [program("olah-cli"), "--config", str(config), "--log-path", str(root / "logs")]
    with serving(command, root / "olah.log", environment()) as origin:
        yield Olah(origin, root)


def _pointer(home: Path, data: bytes) -> bytes:
    """Keep a large file where Git LFS does; what Git itself holds in its place."""
    digest = hashlib.sha256(data).hexdigest()
    place = home / ".git" / "lfs" / "objects" / digest[:2] / digest[2:4] / digest
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(data)}\n".encode()


def _git(home: Path, *words: str) -> str:
    who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in _AUTHOR.items()}
    env = environment(**who, GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_SYSTEM="/dev/null", GIT_DIR=str(home / ".git"))
    done = subprocess.run(["git", *words], cwd=home, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
