"""The file system of fsspec over OSS."""

import os
from collections.abc import Iterator
from typing import Any

import ossfs
import pytest
from syncd.localcloud.server import LocalCloud

from tests.emulators.clouds import BUCKET, REGION
from tests.emulators.oss.conftest import Connect


@pytest.fixture
def files(one_bucket: Any, cloud: LocalCloud) -> Iterator[Any]:
    # The instance cache would hand out a file system of an earlier test's port.
    made = ossfs.OSSFileSystem(
        endpoint=cloud.endpoint(REGION),
        key=cloud.access_key_id,
        secret=cloud.access_key_secret,
        skip_instance_cache=True,
    )
    yield made
    made._session.session.close()


def test_files_are_written_read_and_looked_at(files: Any) -> None:
    data = os.urandom(300_000)
    files.pipe_file(f"{BUCKET}/m/v1/model é.bin", data)
    assert files.cat_file(f"{BUCKET}/m/v1/model é.bin") == data
    # This client's ranges include their end, unlike every other file system's.
    assert files.cat_file(f"{BUCKET}/m/v1/model é.bin", 5, 10) == data[5:11]
    assert files.info(f"{BUCKET}/m/v1/model é.bin")["size"] == len(data)
    with files.open(f"{BUCKET}/m/v1/model é.bin", "rb", block_size=64 * 1024) as file:
        file.seek(200_000)
        assert file.read() == data[200_000:]
    assert files.exists(f"{BUCKET}/m/v1/model é.bin")
    assert not files.exists(f"{BUCKET}/none")


def test_trees_are_listed_copied_moved_and_removed(files: Any, tmp_path: Any) -> None:
    for name in ("a", "d/b", "d/e/c"):
        files.pipe_file(f"{BUCKET}/t/{name}", name.encode())
    assert files.find(f"{BUCKET}/t") == [f"{BUCKET}/t/{name}" for name in ("a", "d/b", "d/e/c")]
    assert sorted(entry["name"] for entry in files.ls(f"{BUCKET}/t")) == [f"{BUCKET}/t/a", f"{BUCKET}/t/d/"]
    walked = [(root, sorted(dirs), sorted(names)) for root, dirs, names in files.walk(f"{BUCKET}/t")]
    assert walked[0] == (f"{BUCKET}/t", ["d"], ["a"])
    files.cp_file(f"{BUCKET}/t/a", f"{BUCKET}/t/a2")
    files.mv(f"{BUCKET}/t/a2", f"{BUCKET}/t/a3")
    assert files.cat_file(f"{BUCKET}/t/a3") == b"a"
    files.get(f"{BUCKET}/t/d", str(tmp_path / "d"), recursive=True)
    assert (tmp_path / "d" / "e" / "c").read_bytes() == b"d/e/c"
    files.rm(f"{BUCKET}/t", recursive=True)
    assert not files.find(f"{BUCKET}/t")


def test_a_local_file_goes_up_and_comes_down(files: Any, tmp_path: Any) -> None:
    data = os.urandom(1_000_000)
    (tmp_path / "up").write_bytes(data)
    files.put_file(str(tmp_path / "up"), f"{BUCKET}/f")
    files.get_file(f"{BUCKET}/f", str(tmp_path / "down"))
    assert (tmp_path / "down").read_bytes() == data


def test_wrong_keys_and_missing_buckets_are_errors(cloud: LocalCloud, connect: Connect, files: Any) -> None:
    wrong = ossfs.OSSFileSystem(
        endpoint=cloud.endpoint(REGION), key=cloud.access_key_id, secret="wrong", skip_instance_cache=True
    )
    with pytest.raises(OSError, match="SignatureDoesNotMatch"):
        wrong.cat_file(f"{BUCKET}/k")
    wrong._session.session.close()
    with pytest.raises(FileNotFoundError):
        files.cat_file("never-made/k")
    with pytest.raises(FileNotFoundError):
        files.cat_file(f"{BUCKET}/none")
