"""Slow mount of a directory, served by a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from syncd.localcloud.fuse.pace import MountPace


def can_mount() -> bool:
    """Whether this process may mount: /dev/fuse is there, and it runs as root."""
    return os.geteuid() == 0 and os.access("/dev/fuse", os.R_OK | os.W_OK)


@contextmanager
def slow_mount(
    root: Path,
    where: Path,
    pace: MountPace,
    *,
    flips: Sequence[tuple[str, int]] = (),
    counts: Path | None = None,
) -> Iterator[Path]:
    """Mount `root` at `where`, read-only. `flips` names bytes that are served wrongly: path and offset.

    `counts` is a file that has the number of bytes that the kernel asked for, after the mount has ended.

    Raises:
        OSError: It cannot be mounted; the process's message stands on standard error.
    """
    settings = {
        "root": str(root),
        "where": str(where),
        "pace": asdict(pace),
        "flips": list(flips),
        "counts": str(counts or ""),
    }
    command = [sys.executable, "-m", "syncd.localcloud.fuse.server", json.dumps(settings)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            if process.stdout.readline().strip() != "mounted":
                raise OSError(f"{where}: cannot be mounted; /dev/fuse and the right to mount are needed")
            yield where
        finally:
            process.stdin.close()
            process.wait()
