"""schemathesis asks the API whatever its OpenAPI document allows, and what it does not: nothing is a bug."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from syncd.plan.roles import Role
from syncd.reconcile.requests.operations import publish
from syncd.state.state import State

from tests.servers.programs import environment, program
from tests.support.rooms import SDXL, World, site
from tests.unit.api.deliveries import genuine, hook
from tests.unit.api.serving import Served, serving

EXAMPLES_REFUSED: Final = 3  # of a caller that most operations refuse before they read anything
EXAMPLES: Final = 12  # of each operation and phase: a minute here finds no more than these seconds
SECONDS_MAX: Final = 120.0
# What is there, so that it gets past the first look; names that are not are asked for elsewhere.
THERE: Final = f"""[parameters]
"path.model" = "{SDXL}"
"path.release" = "r-1"
"path.hook" = "models"
"""
CHECKS: Final = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.fixture
def served(sqlite_template: Path, tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "state.db").write_bytes(sqlite_template.read_bytes())
    state, world = State(f"sqlite:///{tmp_path / 'state.db'}"), World(tmp_path / "registry")
    world.deliver(SDXL, "v1")
    given = {each.name: each for each in genuine()}
    at = site(world, state)
    publish(at.requester, SDXL, "v1")
    with serving(at, {"models": hook(given["harbor push"], tmp_path)}) as made:
        made.pulse.record_poll("models")
        with beating(made):
            yield made
    state.close()


@contextmanager
def beating(served: Served) -> Iterator[None]:
    """The main loop's passes: without them the server says after half a minute that the process is stuck."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(1.0):
            served.pulse.beat()

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.needs_schemathesis
@pytest.mark.parametrize("role", [*Role, None], ids=str)
def test_nothing_that_schemathesis_asks_is_a_bug_or_is_answered_otherwise_than_described(
    served: Served, role: Role | None, tmp_path: Path
) -> None:
    (tmp_path / "schemathesis.toml").write_text(THERE)
    token = f"Authorization: Bearer {served.token(role) if role else 'nobody'}"
    command = [program("schemathesis"), "run", f"{served.url}/openapi.json", "--header", token, "--seed", "7"]
    command += [
        "--checks",
        CHECKS,
        "--max-examples",
        str(EXAMPLES if role is Role.OPERATE else EXAMPLES_REFUSED),
        "--phases",
        "examples,coverage,fuzzing",
    ]
    command += ["--exclude-path", "/v1/events", "--no-color", "--continue-on-failure"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=SECONDS_MAX, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    done_there = {event.kind for event in served.site.events()}
    operated = {"hold.put", "hold.lifted", "freeze.put", "freeze.lifted", "release.cancel_wanted"}
    assert done_there & operated == (operated if role is Role.OPERATE else set())
