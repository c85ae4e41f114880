"""Every reading command, beside the record and with `--server`: one answer, and one way to fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
from syncd.cli.main import COMMANDS
from syncd.cli.remote import WITH_SERVER

from tests.acceptance.stage import Cloud, Done, Stage, environment, run, small, until

READS: Final = (
    "advise {m}",
    "advise {m}@v1 --starts 4",
    "drift",
    "drift {m} --ended",
    "health",
    "plan {m}@v2",
    "plan {m}-v1",
    "releases",
    "releases {m} -n 1",
    "show r-1",
    "show {m}@v1",
    "status",
    "status {m}",
    "status --starts",
    "verify {m}",
    "verify {m} --results",
    "versions {m}",
)  # a command with `--server` that only reads stands here, or in NO_READ
NO_READ: Final = {
    *("approve", "cancel", "dismiss", "freeze", "hold", "publish", "repair", "retry", "rollback", "unfreeze", "unhold"),
    "watch",  # it does not end
}
FAILING: Final = (
    "advise nobody",
    "drift nobody",
    "plan {m}@v9",
    "releases nobody",
    "show r-99",
    "show seven",
    "show {m}@v9",
    "show {m}@",
    "status nobody",
    "versions nobody",
)
ONLY_THERE: Final = {"verify {m}": {"verified_at", "quick", "proofs"}}  # there it shows the results of the last run
_OF_THE_MOMENT: Final = {"seen_at", "since"}  # `since` of what has never been otherwise is the time of the answer


@pytest.fixture(scope="module")
def watched(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, dict[str, str]]]:
    """Two versions live one after the other and verified, a daemon with an API, and a user's environment elsewhere."""
    stage = cloud.stage(tmp_path_factory.mktemp("reads"), second=False)
    stage.configure(("[registries.models]", '[api]\nlisten = "127.0.0.1:0"\n\n[registries.models]'))
    token = stage.run("token", "create", "reader", "--role", "operate").out.strip()
    for version in ("v1", "v2"):
        assert stage.publish(version, small(version)).code == 0
    assert stage.run("verify").code == 0
    with stage.daemon("-o", "json") as daemon:
        (listening,) = until(lambda: daemon.events("server.listening"), "the API to listen")
        until(lambda: stage.run("health").code == 0, "all to be good")
        elsewhere = environment(SYNCD_SERVER=listening["address"], SYNCD_TOKEN=token, SYNCD_CONFIG="/nowhere.toml")
        yield stage, elsewhere


def both(watched: tuple[Stage, dict[str, str]], text: str, *more: str) -> tuple[Done, Done]:
    stage, elsewhere = watched
    words = [word.format(m=stage.model) for word in text.split()]
    return stage.run(*words, *more), run(*words, *more, env=elsewhere)


def settled(value: Any) -> Any:
    """Without what each moment changes: the times of the daemon's signs."""
    if isinstance(value, dict):
        return {key: settled(each) for key, each in value.items() if key not in _OF_THE_MOMENT}
    return [settled(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("text", READS)
def test_a_reading_command_answers_the_same_beside_the_record_and_elsewhere(
    watched: tuple[Stage, dict[str, str]], text: str
) -> None:
    here, there = both(watched, text, "-o", "json")
    assert here.code == there.code == 0, (here, there)
    more = ONLY_THERE.get(text, set())
    answer = {key: value for key, value in there.document.items() if key not in more}
    assert settled(here.document) == settled(answer)
    assert list(here.document) == list(answer)
    assert more <= set(there.document)


@pytest.mark.parametrize("text", FAILING)
def test_a_reading_command_fails_the_same_way_beside_the_record_and_elsewhere(
    watched: tuple[Stage, dict[str, str]], text: str
) -> None:
    here, there = both(watched, text, "-o", "json")
    assert here.code == there.code != 0, (here, there)
    assert json.loads(here.out)["error"] == json.loads(there.out)["error"]


def test_every_command_with_a_server_is_walked() -> None:
    assert {text.split()[0] for text in READS} | NO_READ == WITH_SERVER
    assert set(COMMANDS) >= WITH_SERVER
