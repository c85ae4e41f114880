"""The Hub's own client reads our Hub, and olah, as it reads the Hub: what our registry is tested with is one."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.emulators.hub import TOKEN, HubWeb
from tests.servers.olah import olah_server
from tests.servers.programs import environment, program
from tests.support.tensors import sharded

pytestmark = pytest.mark.needs_huggingface_hub

MODEL: Final = "acme/chat"
FIRST: Final = {**sharded(shards=2, tensors=2, size_bytes=1 << 20), "tokenizer/vocab.txt": b"a\nb\n"}
SECOND: Final = {"config.json": b'{"model_type": "another"}'}
SECONDS_MAX: Final = 60.0


def downloaded(origin: str, revision: str, home: Path) -> Mapping[str, bytes]:
    """What `hf download` leaves of a revision."""
    own = {"HF_ENDPOINT": origin, "HF_TOKEN": TOKEN, "HF_HOME": str(home / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    into = home / revision
    command = [program("hf"), "download", MODEL, "--revision", revision, "--local-dir", str(into)]
    env = environment(**own, HF_HUB_DISABLE_XET="1")
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    assert done.returncode == 0, done.stderr
    files = (path for path in into.rglob("*") if path.is_file())
    found = {path.relative_to(into).as_posix(): path.read_bytes() for path in files}
    return {path: data for path, data in found.items() if not path.startswith(".cache/")}


@pytest.mark.parametrize("kind", ["hub", "mirror"])
def test_the_hubs_own_client_gets_each_tags_files_from_the_hub_we_test_with(kind: str, tmp_path: Path) -> None:
    hub = HubWeb(page=1000)  # that of other pages names the Hub's own host, as mirrors do, and only we go on here
    hub.mirror = kind == "mirror"
    hub.commit(MODEL, FIRST, "v1")
    hub.commit(MODEL, SECOND, "v2")
    with hub.web:
        assert downloaded(hub.web.origin, "v1", tmp_path) == FIRST
        assert downloaded(hub.web.origin, "v2", tmp_path) == SECOND


@pytest.mark.needs_olah
@pytest.mark.needs_git
def test_the_hubs_own_client_gets_each_tags_files_from_olah(tmp_path: Path) -> None:
    with olah_server(tmp_path) as olah:
        olah.commit(MODEL, "v1", FIRST)
        olah.commit(MODEL, "v2", SECOND)
        assert downloaded(olah.origin, "v1", tmp_path) == FIRST
        assert downloaded(olah.origin, "v2", tmp_path) == SECOND
