"""The client of ORAS, as people call it from their programs: it pushes what lies in a directory."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.emulators.distribution import Distribution
from tests.servers.programs import environment, program

SECONDS_MAX: Final = 120.0
# The token is for both: asked for one by itself, it takes that for reading, and then does not know how to write.
_PUSH: Final = """
import os, sys
from oras.client import OrasClient

host, target, token, created = sys.argv[1:]
client = OrasClient(hostname=host, insecure=True, auth_backend="token")
client.auth.set_token_auth(token)
notes = {"org.opencontainers.image.created": created}
client.push(target=f"{host}/{target}", files=sorted(os.listdir()), manifest_annotations=notes, quiet=True)
"""


def oras_push(distribution: Distribution, model: str, tag: str, directory: Path) -> None:
    """Push all that lies in a directory: files as they are, directories packed by the client."""
    assert distribution.tokens is not None
    token = distribution.tokens.token(f"repository:{model}:pull,push")
    host, now = distribution.origin.removeprefix("http://"), datetime.now(UTC).isoformat(timespec="seconds")
    command = [program("python"), "-c", _PUSH, host, f"{model}:{tag}", token, now]
    done = subprocess.run(
        command, cwd=directory, env=environment(HOME=str(directory.parent)), capture_output=True, text=True,
        timeout=SECONDS_MAX, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
