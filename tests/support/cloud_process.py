"""A local cloud in its own process: prints its endpoints as JSON and runs until its input ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.clouds import cloud_at


@contextmanager
def cloud_process(root: Path, *regions: str) -> Iterator[dict[str, str]]:
    """Endpoints by region."""
    command = [sys.executable, "-m", "tests.support.cloud_process", str(root), *regions]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        endpoints: dict[str, str] = json.loads(process.stdout.readline())
        yield endpoints


def main(root: str, *regions: str) -> None:
    with cloud_at(Path(root), *regions) as cloud:
        sys.stdout.write(json.dumps({region: cloud.endpoint(region) for region in regions}) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
