"""Access behind the API: materialized prefixes, and the files of objects."""

import threading
from pathlib import Path
from typing import Any

import oss2
import pytest
from oss2.models import PartInfo
from syncd.localcloud.oss.errors import OssError
from syncd.localcloud.oss.region import MaterializedPrefix
from syncd.localcloud.server import LocalCloud

from tests.emulators.clouds import BUCKET, REGION
from tests.emulators.oss.conftest import Connect

MIN = 100 * 1024


def _multipart(bucket: Any, key: str, *parts: bytes) -> None:
    upload_id = bucket.init_multipart_upload(key).upload_id
    done = [PartInfo(n, bucket.upload_part(key, upload_id, n, part).etag) for n, part in enumerate(parts, 1)]
    bucket.complete_multipart_upload(key, upload_id, done)


def test_a_prefix_is_shown_as_a_directory(one_bucket: Any, cloud: LocalCloud, tmp_path: Path) -> None:
    for key in ("m/v1/", "m/v1/a", "m/v1/d/b", "m/v1/empty/", "m/v10/no", "other"):
        one_bucket.put_object(key, key.encode())
    _multipart(one_bucket, "m/v1/big", b"a" * MIN, b"b")
    for key in ("m/v1/../escape", "m/v1//double", "m/v1/."):
        one_bucket.put_object(key, b"left out")
    one_bucket.put_symlink("m/v1/a", "m/v1/link")
    oss = cloud.oss[REGION]
    found = oss.materialize(BUCKET, "/m/v1/", tmp_path / "mount")
    assert found == MaterializedPrefix(bucket_exists=True, marker_exists=True, files=3)
    shown = {str(p.relative_to(tmp_path / "mount")) for p in (tmp_path / "mount").rglob("*")}
    assert shown == {"a", "d", "d/b", "empty", "big"}
    assert (tmp_path / "mount" / "big").read_bytes() == b"a" * MIN + b"b"
    assert (tmp_path / "mount" / "a").samefile(oss.object_file(BUCKET, "m/v1/a"))


def test_a_mount_keeps_its_bytes_when_objects_go(one_bucket: Any, cloud: LocalCloud, tmp_path: Path) -> None:
    one_bucket.put_object("v/a", b"old")
    cloud.oss[REGION].materialize(BUCKET, "v", tmp_path / "mount")
    one_bucket.put_object("v/a", b"new")
    one_bucket.delete_object("v/a")
    assert (tmp_path / "mount" / "a").read_bytes() == b"old"


def test_a_mount_says_what_is_missing(one_bucket: Any, cloud: LocalCloud, tmp_path: Path) -> None:
    oss = cloud.oss[REGION]
    assert oss.materialize("never-made", "", tmp_path / "a") == MaterializedPrefix(
        bucket_exists=False, marker_exists=False, files=0
    )
    one_bucket.put_object("v/a", b"1")
    assert oss.materialize(BUCKET, "v", tmp_path / "b") == MaterializedPrefix(
        bucket_exists=True, marker_exists=False, files=1
    )
    whole = oss.materialize(BUCKET, "", tmp_path / "c")
    assert whole == MaterializedPrefix(bucket_exists=True, marker_exists=True, files=1)
    assert (tmp_path / "c" / "v" / "a").read_bytes() == b"1"


def test_a_key_that_is_also_a_directory_gives_way(one_bucket: Any, cloud: LocalCloud, tmp_path: Path) -> None:
    one_bucket.put_object("d", b"file")
    one_bucket.put_object("d/a", b"below")
    assert cloud.oss[REGION].materialize(BUCKET, "", tmp_path / "m").files == 1
    assert (tmp_path / "m" / "d" / "a").read_bytes() == b"below"


def test_a_bit_flipped_in_the_store_shows_in_the_bytes_and_not_in_the_record(
    one_bucket: Any, cloud: LocalCloud
) -> None:
    _multipart(one_bucket, "k", b"a" * MIN, b"b" * 10)
    one_bucket.copy_object(BUCKET, "k", "copy")
    file = cloud.oss[REGION].object_file(BUCKET, "k")
    damaged = bytearray(file.read_bytes())
    damaged[MIN] ^= 1
    file.write_bytes(damaged)
    got = one_bucket.get_object("k")
    assert got.read() == b"a" * MIN + b"c" + b"b" * 9
    assert got.client_crc != got.server_crc
    assert one_bucket.get_object("copy").read() == b"a" * MIN + b"b" * 10
    # A copy of damaged bytes has the CRC of what was copied, so whoever compares will see.
    bad = one_bucket.copy_object(BUCKET, "k", "bad")
    assert bad.headers["x-oss-hash-crc64ecma"] != str(got.server_crc)


def test_the_file_of_nothing_is_an_error(one_bucket: Any, cloud: LocalCloud) -> None:
    with pytest.raises(OssError, match="NoSuchKey"):
        cloud.oss[REGION].object_file(BUCKET, "none")
    with pytest.raises(OssError, match="NoSuchBucket"):
        cloud.oss[REGION].object_file("never-made", "none")


def test_a_reader_sees_one_version_or_the_other_whole(one_bucket: Any, connect: Connect) -> None:
    sizes = (200_000, 300_000)
    one_bucket.put_object("k", b"0" * sizes[0])
    stop = threading.Event()

    def write(bucket: Any, digit: bytes, size: int) -> None:
        while not stop.is_set():
            bucket.put_object("k", digit * size)

    writers = [
        threading.Thread(target=write, args=(connect(), digit, size))
        for digit, size in zip((b"0", b"1"), sizes, strict=True)
    ]
    for writer in writers:
        writer.start()
    try:
        for _ in range(50):
            body = one_bucket.get_object("k").read()
            assert body in (b"0" * sizes[0], b"1" * sizes[1])
    finally:
        stop.set()
        for writer in writers:
            writer.join()


def test_only_one_of_many_racing_creators_wins(connect: Connect) -> None:
    connect().create_bucket()
    outcomes: list[str] = []

    def create(bucket: Any, name: int) -> None:
        try:
            bucket.put_object("seal", b"%d" % name, headers={"x-oss-forbid-overwrite": "true"})
            outcomes.append("won")
        except oss2.exceptions.ServerError as error:
            outcomes.append(error.code)

    racers = [threading.Thread(target=create, args=(connect(), n)) for n in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert sorted(outcomes) == ["FileAlreadyExists"] * 7 + ["won"]
