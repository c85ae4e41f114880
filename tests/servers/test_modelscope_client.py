"""ModelScope's own client reads our ModelScope as it reads the real one: what our registry is tested with is one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest

from tests.emulators.modelscope import TOKEN, ModelScopeWeb
from tests.emulators.web import Reply, Request
from tests.servers.programs import environment, program
from tests.support.tensors import sharded

pytestmark = pytest.mark.needs_modelscope

MODEL: Final = "acme/chat"
FIRST: Final = {**sharded(shards=2, tensors=2, size_bytes=1 << 20), "tokenizer/vocab.txt": b"a\nb\n"}
SECOND: Final = {"config.json": b'{"model_type": "another"}'}
SECONDS_MAX: Final = 60.0
LISTED: Final = """
import sys
from modelscope_hub import HubApi
for file in HubApi().list_repo_files(sys.argv[1], "model", revision=sys.argv[2], recursive=True):
    print(file.path)
for revision in HubApi().list_repo_revisions(sys.argv[1], "model"):
    print(revision["Revision"])
"""


@pytest.fixture
def modelscope() -> Iterator[ModelScopeWeb]:
    made = ModelScopeWeb()
    made.tag(MODEL, "v1", FIRST)
    made.tag(MODEL, "v2", SECOND)
    with made.web:
        yield made


def ran(modelscope: ModelScopeWeb, home: Path, *words: str) -> str:
    """A program of theirs, which keeps what it keeps below `home`; what it printed."""
    own = {"MODELSCOPE_ENDPOINT": modelscope.web.origin, "MODELSCOPE_API_TOKEN": TOKEN, "HOME": str(home)}
    env = environment(**own, MODELSCOPE_HOME=str(home / "own"), MODELSCOPE_CACHE=str(home / "cache"))
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def downloaded(modelscope: ModelScopeWeb, revision: str, home: Path) -> Mapping[str, bytes]:
    """What `modelscope download` leaves of a revision."""
    into = home / revision
    ran(modelscope, home, program("modelscope"), "download", MODEL, "--revision", revision, "--local-dir", str(into))
    return {path.relative_to(into).as_posix(): path.read_bytes() for path in into.rglob("*") if path.is_file()}


def test_modelscopes_own_client_gets_each_tags_files_from_the_one_we_test_with(
    modelscope: ModelScopeWeb, tmp_path: Path
) -> None:
    assert downloaded(modelscope, "v1", tmp_path) == FIRST
    assert downloaded(modelscope, "v2", tmp_path) == SECOND


def test_it_goes_on_in_a_large_file_that_broke_off_though_ranges_are_answered_with_200(
    modelscope: ModelScopeWeb, tmp_path: Path
) -> None:
    broken: list[str] = []

    def breaks_off(request: Request) -> Reply | None:
        if not request.path.startswith("/oss/") or broken:
            return None
        broken.append(request.path)
        data = next(data for data in FIRST.values() if sha256(data).hexdigest() in request.path)
        return Reply(200, {"Content-Type": "application/octet-stream"}, data, cut_after=len(data) // 2)

    modelscope.web.faults.append(breaks_off)
    assert downloaded(modelscope, "v1", tmp_path) == FIRST
    assert [r.path for r in modelscope.web.seen if "range" in r.headers and "/oss/" in r.path] == broken


def test_in_a_region_it_asks_for_files_by_the_header_that_we_send(modelscope: ModelScopeWeb, tmp_path: Path) -> None:
    modelscope.region = "cn-hangzhou"
    assert downloaded(modelscope, "v2", tmp_path) == SECOND
    told = {r.path.rpartition("/")[2]: r.headers.get("x-aliyun-region-id") for r in modelscope.web.seen}
    assert (told["repo"], told["files"]) == ("cn-hangzhou", None)


def test_it_finds_every_file_behind_a_listing_that_is_cut_off(modelscope: ModelScopeWeb, tmp_path: Path) -> None:
    modelscope.tag(MODEL, "v3", {f"{number % 2}/{number}": b"1" for number in range(modelscope.listing_max + 100)})
    listed = ran(modelscope, tmp_path, program("python"), "-c", LISTED, MODEL, "v3").split("\n")
    assert len({path for path in listed if "/" in path}) == modelscope.listing_max + 100
    assert listed[-5:] == ["v1", "v2", "v3", "master", ""]
