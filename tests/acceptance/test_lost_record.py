"""Disaster recovery with the installed command: the record is gone, is yesterday's, or moves to another database."""

from __future__ import annotations

import shutil

import oss2
import pytest

from tests.acceptance.stage import BUCKET, Done, Stage, small, until
from tests.support.clouds import KEY_ID, KEY_SECRET, oss2_session
from tests.support.databases import new_postgresql


@pytest.fixture
def stage(one_region: Stage) -> Stage:
    """Two versions, the newer one live and the model on hold."""
    for version in ("v1", "v2"):
        assert one_region.publish(version, small(version)).code == 0
    return one_region


def hold(stage: Stage) -> None:
    """And have a daemon copy the hold to the target."""
    assert stage.run("hold", stage.model, "--why", "black images").code == 0
    auth = oss2.Auth(KEY_ID, KEY_SECRET)
    bucket = oss2.Bucket(auth, stage.cloud.endpoint, BUCKET, enable_crc=False, session=oss2_session())
    with stage.daemon():
        until(
            lambda: [f for f in oss2.ObjectIterator(bucket, prefix=f"{stage.model}/") if "/.syncd/holds/" in f.key],
            "the copy of the hold",
        )


def lose(stage: Stage) -> None:
    for file in stage.home.glob("syncd.db*"):
        file.unlink()


def assert_goes_back_and_stays_held(stage: Stage) -> None:
    assert stage.live() == {"v2"}
    refused = stage.publish("v3", small("v3"))
    assert refused.code == 4, refused
    back = stage.run("rollback", stage.model, "--why", "black images", "--wait")
    assert back.code == 0, back.out + back.err
    assert stage.live() == {"v1"}
    assert stage.run("verify", stage.model).code == 0


def adopted(stage: Stage) -> Done:
    done = stage.run("db", "adopt-world")
    assert done.code == 0, done.out + done.err
    assert "automatic releases are on" in done.out
    return done


def test_a_lost_record_is_created_anew_says_what_is_off_and_is_rebuilt_from_the_world(stage: Stage) -> None:
    hold(stage)
    lose(stage)
    for command in (("status",), ("db", "upgrade"), ("run",)):
        done = stage.run(*command)
        assert done.code == 2
        assert f"no record at {stage.database}; is the disk mounted?" in done.err.replace("\nhint:  ", "; ")
    created = stage.run("db", "create")
    assert created.code == 0
    assert "automatic releases are off: " in created.out
    assert "run: syncd db adopt-world" in created.out
    for command in (("status",), ("config", "check")):
        told = stage.run(*command)
        assert "syncd db adopt-world" in told.out + told.err, command
    said = adopted(stage).out
    assert f"on hold: {stage.model}" in said
    assert_goes_back_and_stays_held(stage)


def test_a_record_of_yesterday_takes_over_what_was_released_and_held_since(one_region: Stage) -> None:
    stage = one_region
    assert stage.publish("v1", small("v1")).code == 0
    yesterday = stage.home / "yesterday.db"
    shutil.copyfile(stage.database, yesterday)
    assert stage.publish("v2", small("v2")).code == 0
    hold(stage)
    lose(stage)
    shutil.copyfile(yesterday, stage.database)
    assert stage.run("db", "upgrade").code == 0
    adopted(stage)
    assert_goes_back_and_stays_held(stage)


def test_a_record_is_rebuilt_in_another_database(stage: Stage, postgresql_server: str) -> None:
    hold(stage)
    with new_postgresql(postgresql_server) as url:
        other = url.replace("postgresql:", "postgresql+psycopg:", 1).replace(":@", "@", 1)
        stage.configure((f"sqlite:///{stage.database}", other))
        assert "run: syncd db adopt-world" in stage.run("db", "create").out
        adopted(stage)
        assert_goes_back_and_stays_held(stage)


def test_a_record_is_exported_beside_a_daemon_and_goes_on_in_another_database(
    stage: Stage, postgresql_server: str
) -> None:
    exported = stage.home / "record.jsonl"
    assert stage.run("hold", stage.model, "--why", "black images").code == 0
    with stage.daemon():
        done = stage.run("state", "export", str(exported))
        assert done.code == 0, done.err
        refused = stage.run("state", "import", str(exported))
        assert refused.code == 9
        assert "is served by another process" in refused.err
    with new_postgresql(postgresql_server) as url:
        other = url.replace("postgresql:", "postgresql+psycopg:", 1).replace(":@", "@", 1)
        stage.configure((f"sqlite:///{stage.database}", other))
        assert stage.run("db", "create").code == 0
        done = stage.run("state", "import", str(exported))
        assert done.code == 0, done.out + done.err
        assert done.out.startswith("imported ")
        assert "automatic releases are off" not in done.out
        assert_goes_back_and_stays_held(stage)


def test_an_export_of_an_older_world_is_refused_until_a_person_accepts_what_differs(one_region: Stage) -> None:
    stage = one_region
    assert stage.publish("v1", small("v1")).code == 0
    yesterday = stage.home / "yesterday.jsonl"
    assert stage.run("state", "export", str(yesterday)).code == 0
    assert stage.publish("v2", small("v2")).code == 0
    lose(stage)
    assert stage.run("db", "create").code == 0
    refused = stage.run("state", "import", str(yesterday), "-o", "json")
    assert refused.code == 9, refused
    (differs,) = refused.document["differences"]
    assert (differs["got"], differs["want"]) == ("2", "1")
    assert stage.live() == {None}, "nothing was written"
    accepted = stage.run("state", "import", str(yesterday), "--accept-differences")
    assert accepted.code == 0, accepted.err
    assert "automatic releases are off: " in accepted.out
    assert stage.live() == {"v1"}
    adopted(stage)
    assert stage.live() == {"v2"}
    assert stage.run("rollback", stage.model, "--why", "black images", "--wait").code == 0
    assert stage.live() == {"v1"}
