"""What breaks at night: `status` shows it without a release, says what to do, and forgets it when that was done."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.acceptance.stage import BUCKET, SECRET_NAME, Stage, small, until
from tests.acceptance.test_situations import runtime_of
from tests.support.lengths import LONG

SEEN_S: Final = 30.0  # a poll of half a second, a check of two, and a call that is repeated a few times


@dataclass(frozen=True)
class Break:
    """A break while the daemon runs, how it is mended, and how an entry of `status` names it."""

    make: Callable[[Stage], object]
    mend: Callable[[Stage], object]
    listed: str
    name: str
    said: str
    to_do: str
    is_short: bool = False


def _moved(place: Callable[[Stage], Path]) -> tuple[Callable[[Stage], object], Callable[[Stage], object]]:
    def away(stage: Stage) -> None:
        place(stage).rename(place(stage).with_name("away"))

    def back(stage: Stage) -> None:
        place(stage).with_name("away").rename(place(stage))

    return away, back


def _answering(service: str, resource: str, status: int, code: str) -> Callable[[Stage], object]:
    """The cloud answers every call of this stage to a service so."""

    def make(stage: Stage) -> None:
        rule = {
            "service": service,
            "resource": resource.format(stage=stage, bucket=BUCKET),
            "times": 0,
            "action": {"kind": "Answer", "status": status, "code": code},
        }
        httpx.post(f"{stage.cloud.endpoint}/_local/faults", json=rule).raise_for_status()

    return make


def _alias(to: str | None, expect: str | None) -> Callable[[Stage], object]:
    return lambda stage: runtime_of(stage).flip(f"f-{stage.model}", "prod", to, expect)


BREAKS: Final[Mapping[str, Break]] = {
    "the registry is gone": Break(
        *_moved(lambda stage: stage.registry), "unhealthy", "models", "No such file or directory",
        "is it mounted? check the `path` setting", is_short=True,
    ),
    "the NAS is gone": Break(
        *_moved(lambda stage: stage.nas), "unhealthy", "shanghai", "is not there", "mount it",
    ),
    "the bucket does not answer": Break(
        _answering("oss", "{bucket}.*", 503, "ServiceUnavailable"), Stage.clear_faults, "unhealthy", "hangzhou",
        "no answer for more than 10 s", "",
    ),
    "the functions of a region do not answer": Break(
        _answering("fc", "f-{stage.model}.*", 503, "ServiceUnavailable"), Stage.clear_faults, "unhealthy", "hangzhou",
        "503", "",
    ),
    "the key is refused": Break(
        _answering("oss", "{bucket}.*", 403, "InvalidAccessKeyId"), Stage.clear_faults, "unhealthy", "local",
        "InvalidAccessKeyId", SECRET_NAME,
    ),
    "an alias was moved": Break(
        _alias("1", "2"), _alias("2", "1"), "drifted", "hangzhou", "1", "`syncd restore hangzhou` restores",
    ),
    "an alias was deleted": Break(
        _alias(None, "2"), _alias("2", None), "drifted", "hangzhou", "", "`syncd restore hangzhou` restores",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", [name for name, each in BREAKS.items() if LONG or each.is_short])
def test_status_shows_a_break_within_a_poll_and_forgets_it_when_it_is_mended(stage: Stage, what: str) -> None:
    case = BREAKS[what]
    stage.configure(("[policy]\n", "[policy]\ndrift_poll_s = 1.0\n"))
    for version in ("v1", "v2"):
        assert stage.publish(version, small(version)).code == 0
    with stage.daemon() as daemon:
        until(lambda: stage.run("health").code == 0, "all to be good", SEEN_S)
        case.make(stage)
        try:
            (entry, *_) = until(lambda: _entries(stage, case), f"{what} to be in the status", SEEN_S)
            code = stage.run("health").code
        finally:
            with contextlib.suppress(OSError):
                case.mend(stage)
        assert code == 11
        assert case.said in f"{entry.get('reason', entry.get('got'))}"
        assert case.to_do in entry["hint"]
        assert stage.run("health", "--liveness").code in {0, 7}
        until(lambda: stage.run("health").code == 0, f"{what} to be over", SEEN_S)
        assert stage.ask("status")[case.listed] == []
        assert stage.live() == {"v2"}
        assert daemon.stop() == 0


def _entries(stage: Stage, case: Break) -> list[dict[str, Any]]:
    return [each for each in stage.ask("status")[case.listed] if case.name in {each.get("name"), each.get("binding")}]


def test_a_wrong_key_shows_as_soon_as_the_daemon_starts_with_it(one_region: Stage) -> None:
    one_region.env[SECRET_NAME] = "not-the-secret-of-this-cloud"
    with one_region.daemon():
        found = until(lambda: one_region.ask("status")["unhealthy"], "the key to be in the status", SEEN_S)
        (key,) = until(
            lambda: [each for each in one_region.ask("status")["unhealthy"] if each["section"] == "credentials"],
            "the key to be named",
            SEEN_S,
        )
    assert found
    assert key["name"] == "local"
    assert "not-the-secret" not in f"{key}"
    assert SECRET_NAME in key["hint"]


def _garbage(stage: Stage) -> None:
    stage.database.write_bytes(b"no database at all" * 400)


def _older(stage: Stage) -> None:
    with contextlib.closing(sqlite3.connect(stage.database)) as record, record:
        record.execute("UPDATE syncd_schema SET version_num = '0001'")


RECORDS: Final[Mapping[str, tuple[Callable[[Stage], object], int, str, bool]]] = {
    "gone": (lambda stage: stage.database.unlink(), 2, "is the disk mounted?", True),
    "corrupt": (_garbage, 2, "syncd db adopt-world", True),
    "of another schema": (_older, 2, "syncd db upgrade", False),
}


@pytest.mark.parametrize("what", [name for name, each in RECORDS.items() if LONG or each[3]])
def test_a_record_that_cannot_be_used_ends_status_and_health_with_what_to_do(one_region: Stage, what: str) -> None:
    breaks, code, to_do, _ = RECORDS[what]
    whole = one_region.home / "whole.db"
    shutil.copyfile(one_region.database, whole)
    breaks(one_region)
    for command in ("status", "health"):
        done = one_region.run(command)
        assert (done.code, done.out) == (code, ""), done
        assert to_do in done.err
    shutil.copyfile(whole, one_region.database)
    assert one_region.run("status").code == 0
