"""`syncd repair` as a person enters it: after damage in a region, with the registry gone, and killed in the middle."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import oss2
import pytest
from syncd.artifact.manifest import SEAL_PATH

from tests.acceptance.stage import BUCKET, Cloud, Stage, cloud_up, environment, large, run, small, until
from tests.support.clouds import KEY_ID, KEY_SECRET, oss2_session


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with cloud_up(tmp_path_factory.mktemp("cloud")) as running:
        yield running


class Bucket:
    """The objects of a stage's bucket that are files of versions, through a foreign client."""

    def __init__(self, stage: Stage) -> None:
        auth = oss2.Auth(KEY_ID, KEY_SECRET)
        self.client: Any = oss2.Bucket(auth, stage.cloud.endpoint, BUCKET, enable_crc=False, session=oss2_session())
        self._prefix = f"{stage.model}/"

    def victim(self) -> str:
        """The largest file."""
        found = list(oss2.ObjectIterator(self.client, prefix=self._prefix))
        return str(max(found, key=lambda each: (not each.key.endswith(SEAL_PATH), each.size)).key)

    def read(self, key: str) -> bytes:
        data: bytes = self.client.get_object(key).read()
        return data


def test_verify_names_the_repair_and_the_repair_brings_the_bytes_back(stage: Stage) -> None:
    assert stage.publish("v1", small("v1")).code == 0
    victim = max((file for file in stage.nas.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    good = victim.read_bytes()
    victim.chmod(0o644)
    victim.write_bytes(bytes(len(good)))
    found = stage.run("verify", stage.model)
    assert found.code == 8
    remedy = next(line for line in found.out.splitlines() if "syncd repair" in line)
    command = remedy.partition("To resolve: syncd ")[2].split(";")[0].split()
    done = stage.run(*command)
    assert (done.code, "repaired: 1 files" in done.out) == (0, True), done.out + done.err
    assert victim.read_bytes() == good
    assert stage.run("verify", stage.model).code == 0
    assert stage.run(*command).out.strip().endswith("whole, nothing to repair")


def test_an_object_that_was_deleted_comes_back_although_the_registry_is_gone(stage: Stage) -> None:
    assert stage.publish("v1", small("v1")).code == 0
    bucket = Bucket(stage)
    victim = bucket.victim()
    good = bucket.read(victim)
    bucket.client.delete_object(victim)
    stage.registry.rename(stage.registry.with_name("gone"))
    done = stage.run("repair", f"{stage.model}@v1")
    assert done.code == 0, done.out + done.err
    assert bucket.read(victim) == good


def test_nothing_is_removed_where_no_place_has_the_bytes(one_region: Stage) -> None:
    assert one_region.publish("v1", small("v1")).code == 0
    one_region.registry.rename(one_region.registry.with_name("gone"))
    bucket = Bucket(one_region)
    victim = bucket.victim()
    bucket.client.put_object(victim, b"rotten")
    done = one_region.run("repair", one_region.model)
    assert done.code in {7, 8}
    assert "cannot be repaired, nothing was removed" in done.out
    assert "Traceback" not in done.out + done.err
    assert bucket.read(victim) == b"rotten"


def test_a_repair_that_was_killed_goes_on_when_it_is_repeated(one_region: Stage) -> None:
    assert one_region.publish("v1", large("v1")).code == 0
    bucket = Bucket(one_region)
    victim = bucket.victim()
    good = bucket.read(victim)
    bucket.client.put_object(victim, bytes(len(good)))
    one_region.slow(30.0)
    process = one_region.start("repair", f"{one_region.model}@v1")
    until(lambda: not bucket.client.object_exists(victim), "the damaged file to be removed")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    one_region.clear_faults()
    done = one_region.run("repair", f"{one_region.model}@v1")
    assert done.code == 0, done.out + done.err
    assert bucket.read(victim) == good
    assert one_region.run("verify", one_region.model).code == 0


def test_a_repair_is_asked_of_a_server_and_done_by_its_daemon(one_region: Stage) -> None:
    stage = one_region
    assert stage.publish("v1", small("v1")).code == 0
    token = stage.run("token", "create", "ops", "--role", "operate").out.strip()
    stage.config.write_text(stage.config.read_text() + '\n[api]\nlisten = "127.0.0.1:0"\n')
    bucket = Bucket(stage)
    victim = bucket.victim()
    good = bucket.read(victim)
    bucket.client.put_object(victim, bytes(len(good)))
    command = ("repair", f"{stage.model}@v1", "--target", "hangzhou", "--server")
    with stage.daemon() as daemon:
        address = until(lambda: daemon.events("server.listening"), "the API to listen")[-1]["address"]
        done = run(*command, address, env=environment(SYNCD_TOKEN=token))
        assert (done.code, "repaired: 1 files" in done.out) == (0, True), done.out + done.err
        assert bucket.read(victim) == good
        again = run(*command, address, "-o", "json", env=environment(SYNCD_TOKEN=token))
        assert [each["phase"] for each in again.document["repairs"]] == ["whole"]
        bucket.client.put_object(victim, b"rotten")
        stage.registry.rename(stage.registry.with_name("gone"))
        failed = run(*command, address, env=environment(SYNCD_TOKEN=token))
        assert failed.code in {7, 8}, failed
        assert "cannot be repaired, nothing was removed" in failed.out
        assert bucket.read(victim) == b"rotten"
