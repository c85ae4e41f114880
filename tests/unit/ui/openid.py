"""An OpenID provider as a process: npm's `oidc-provider`, where everybody may sign in under any name."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from syncd.plan.roles import Role
from syncd.secret import Secret
from syncd.ui.provider_settings import CALLBACK, ProviderSettings

from tests.emulators.npm import installed
from tests.servers.programs import environment
from tests.unit.api.serving import LIMIT_S

SYNCD: Final = "http://syncd.test"  # what the provider leads back to; tests lead that to the server
_SCRIPT: Final = Path(__file__).with_name("provider.mjs")


def provider_at(issuer: str) -> ProviderSettings:
    """The settings that syncd has of it."""
    roles = {Role.READ: ("all",), Role.OPERATE: ("oncall", "leads")}
    secret = Secret("a-secret-of-a-client")
    return ProviderSettings(issuer, "syncd", secret, SYNCD, "groups", roles, ("openid", "email", "groups"))


@contextmanager
def provider(work: Path) -> Iterator[str]:
    """A provider until the block ends, by its issuer."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = work / _SCRIPT.name
    script.write_bytes(_SCRIPT.read_bytes())
    (work / "node_modules").symlink_to(installed("oidc-provider@9.13.3") / "node_modules")
    node = shutil.which("node")
    assert node is not None
    command = [node, str(script), str(port), f"{SYNCD}{CALLBACK}"]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        assert any("listening" in line for line in process.stdout)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(LIMIT_S)
        process.stdout.close()
