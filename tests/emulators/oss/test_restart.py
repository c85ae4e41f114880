"""Durability: a killed cloud keeps everything it acknowledged, and nothing partial."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import oss2
import pytest
from syncd.localcloud.server import LocalCloud

from tests.emulators.clouds import BUCKET, REGION
from tests.support.clouds import oss2_session

MIN = 100 * 1024
_SERVER = """
import sys, threading
from pathlib import Path
from syncd.localcloud.server import LocalCloud
with LocalCloud(Path(sys.argv[1]), [sys.argv[2]]) as cloud:
    print(cloud.endpoint(sys.argv[2]), cloud.access_key_id, cloud.access_key_secret, flush=True)
    threading.Event().wait()
"""


class Server:
    """The local cloud in a process of its own."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._process: subprocess.Popen[str] | None = None
        self._session = oss2_session()

    def start(self) -> Any:
        """Start; a client of it."""
        command = [sys.executable, "-c", _SERVER, str(self._root), REGION]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        endpoint, key_id, secret = self._process.stdout.readline().split()
        return oss2.Bucket(oss2.Auth(key_id, secret), endpoint, BUCKET, session=self._session)

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._session.session.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "cloud")
    yield made
    made.kill()


def test_objects_and_uploads_outlive_a_kill(server: Server, tmp_path: Path) -> None:
    bucket = server.start()
    bucket.create_bucket()
    data = os.urandom(300_000)
    put = bucket.put_object("k", data, headers={"x-oss-meta-v": "1", "x-oss-tagging": "t=1"})
    upload_id = bucket.init_multipart_upload("big").upload_id
    part = bucket.upload_part("big", upload_id, 1, b"a" * MIN)
    stray = tmp_path / "cloud" / REGION / "oss" / "data" / "00" / "00half"
    server.kill()
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"what a killed upload leaves")

    bucket = server.start()
    got = bucket.get_object("k")
    assert got.read() == data
    assert (got.etag, got.headers["x-oss-meta-v"]) == (put.etag, "1")
    assert [(p.part_number, p.etag) for p in bucket.list_parts("big", upload_id).parts] == [(1, part.etag)]
    assert not stray.exists()
    second = bucket.upload_part("big", upload_id, 2, b"b")
    done = [oss2.models.PartInfo(1, part.etag), oss2.models.PartInfo(2, second.etag)]
    bucket.complete_multipart_upload("big", upload_id, done)
    server.kill()

    bucket = server.start()
    assert bucket.get_object("big").read() == b"a" * MIN + b"b"
    assert [entry.key for entry in oss2.ObjectIteratorV2(bucket)] == ["big", "k"]


def test_an_upload_cut_by_a_kill_is_not_there(server: Server) -> None:
    bucket = server.start()
    bucket.create_bucket()
    bucket.put_object("k", b"old")

    def body() -> Iterator[bytes]:
        yield os.urandom(200_000)
        server.kill()
        yield os.urandom(200_000)

    with pytest.raises(oss2.exceptions.RequestError):
        bucket.put_object("k", body())
    assert server.start().get_object("k").read() == b"old"


def test_a_stopped_cloud_starts_again(tmp_path: Path) -> None:
    cloud = LocalCloud(tmp_path, [REGION])
    session = oss2_session()
    for expected in ([], ["k"]):
        with cloud:
            bucket = oss2.Bucket(
                oss2.Auth(cloud.access_key_id, cloud.access_key_secret),
                cloud.endpoint(REGION),
                BUCKET,
                session=session,
            )
            bucket.create_bucket()
            assert [entry.key for entry in oss2.ObjectIterator(bucket)] == expected
            bucket.put_object("k", b"1")
        session.session.close()
    cloud.stop()  # once more does no harm
    with pytest.raises(KeyError):
        cloud.endpoint(REGION)


def test_a_taken_port_leaves_nothing_running(cloud: LocalCloud, tmp_path: Path) -> None:
    port = int(cloud.endpoint(REGION).rpartition(":")[2])
    second = LocalCloud(tmp_path / "second", ["a", REGION], ports={REGION: port})
    with pytest.raises(OSError, match="in use"):
        second.start()
    assert second.oss == {}
