"""Upload of a directory into a registry in a bucket: visible only when complete, resumed, never changed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from syncd.artifact.names import ModelName, VersionName
from syncd.artifact.parts import PART_BYTES
from syncd.cli.exit_codes import Exit
from syncd.cli.upload import bucket as drop_module
from syncd.cli.upload.bucket import upload_bucket
from syncd.cli.upload.source_directory import Found, scan
from syncd.errors import Conflict, Invalid, Refused
from syncd.localcloud.faults import Delay, FaultRule, Reset, Respond
from syncd.localcloud.server import LocalCloud
from syncd.registry.settings import PrefixSettings
from syncd.registry.sources.oss_prefix import PrefixRegistry
from syncd.store.base import PutMode, Store
from syncd.store.oss.store import OssStore
from syncd.values.source import Candidate

from tests.acceptance.stage import until, write_files
from tests.conformance.registry import read
from tests.support.clouds import REGION, RawBucket, cloud_at
from tests.support.sources import content
from tests.unit.cli.calling import Calling

SDXL, V1 = ModelName("team/sdxl"), VersionName("v1")
FILES: Mapping[str, bytes] = {
    "config.json": b"{}",
    "empty": b"",
    "unet/big.safetensors": content("big", 2 * PART_BYTES + 5),
}
BIG = "training/team/sdxl/v1/unet/big.safetensors"
DENIED = Respond(403, "AccessDenied")
JOB = """import sys
from pathlib import Path
from tests.support.clouds import RawBucket
from syncd.cli.upload.source_directory import scan
from syncd.cli.upload.bucket import upload_bucket
bucket = RawBucket(sys.argv[1], sys.argv[2])
source = Path(sys.argv[3])
upload_bucket(bucket.store(prefix="training/"), source, scan(source).files, "team/sdxl", "v1")
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with cloud_at(tmp_path_factory.mktemp("cloud")) as running:
        yield running


@pytest.fixture
def bucket(cloud: LocalCloud) -> Iterator[RawBucket]:
    made = RawBucket(cloud.endpoint(REGION))
    yield made
    cloud.faults.clear()
    made.client.session.session.close()


@pytest.fixture
def store(bucket: RawBucket) -> OssStore:
    return bucket.store(prefix="training/")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return write_files(tmp_path / "out", FILES)


def versions(bucket: RawBucket, store: OssStore) -> list[Candidate]:
    return list(registry(bucket, store).discover())


def registry(bucket: RawBucket, store: OssStore) -> PrefixRegistry:
    return PrefixRegistry(PrefixSettings(bucket.name, REGION, "training/", ("*/*",)), store)


def test_what_was_uploaded_is_a_version_of_the_registry_with_every_byte(
    bucket: RawBucket, store: OssStore, out: Path
) -> None:
    upload_bucket(store, out, scan(out).files, SDXL, V1)
    found = registry(bucket, store)
    assert list(found.discover()) == [Candidate(SDXL, V1)]
    revision = found.resolve(SDXL, "v1")
    assert {file.path: read(found, SDXL, revision, file.path) for file in found.listing(SDXL, revision)} == FILES
    assert all(file.sha256 is not None for file in found.listing(SDXL, revision))
    assert bucket.uploads() == set()


@pytest.mark.parametrize("operation", ["UploadPart", "CompleteMultipartUpload", "PutObject"])
def test_what_was_interrupted_is_not_seen_and_gone_on_with(
    cloud: LocalCloud, bucket: RawBucket, store: OssStore, out: Path, operation: str
) -> None:
    last = {"UploadPart": (BIG, 2), "CompleteMultipartUpload": (BIG, 0), "PutObject": (".*/SHA256SUMS", 0)}[operation]
    cloud.faults.add(FaultRule("oss", DENIED, operation, f"{bucket.name}/{last[0]}", skip=last[1]))
    with pytest.raises(Refused):
        upload_bucket(store, out, scan(out).files, SDXL, V1)
    assert versions(bucket, store) == []
    before = cloud.counters.bytes_in("UploadPart", f"{bucket.name}/{BIG}")
    upload_bucket(store, out, scan(out).files, SDXL, V1)
    assert versions(bucket, store) == [Candidate(SDXL, V1)]
    sent = cloud.counters.bytes_in("UploadPart", f"{bucket.name}/{BIG}")
    assert sent == len(FILES["unet/big.safetensors"])
    assert sent - before == (5 if operation == "UploadPart" else 0)
    assert bucket.uploads() == set()


def test_a_connection_that_breaks_is_made_again(
    cloud: LocalCloud, bucket: RawBucket, store: OssStore, out: Path
) -> None:
    for operation in ("UploadPart", "CompleteMultipartUpload", "PutObject"):
        cloud.faults.add(FaultRule("oss", Reset(), operation, f"{bucket.name}/.*", when="after"))
    upload_bucket(store, out, scan(out).files, SDXL, V1)
    assert versions(bucket, store) == [Candidate(SDXL, V1)]


def test_the_same_files_again_are_success_and_others_are_a_conflict(
    cloud: LocalCloud, bucket: RawBucket, store: OssStore, out: Path
) -> None:
    upload_bucket(store, out, scan(out).files, SDXL, V1)
    before = cloud.counters.count("PutObject", bucket.name)
    upload_bucket(store, out, scan(out).files, SDXL, V1)
    assert cloud.counters.count("PutObject", bucket.name) == before
    (out / "config.json").write_bytes(b'{"another": 1}')
    with pytest.raises(Conflict, match="exists with other files") as reported:
        upload_bucket(store, out, scan(out).files, SDXL, V1)
    assert "another version name" in reported.value.hint


def test_other_bytes_at_the_same_key_are_not_accepted(bucket: RawBucket, store: OssStore, out: Path) -> None:
    store.put("team/sdxl/v1/unet/big.safetensors", b"other bytes", PutMode.CREATE)
    with pytest.raises(Conflict, match=r"big\.safetensors exists with other bytes"):
        upload_bucket(store, out, scan(out).files, SDXL, V1)
    assert versions(bucket, store) == []


def test_an_upload_that_was_thrown_away_meanwhile_is_begun_again(
    cloud: LocalCloud, bucket: RawBucket, store: OssStore, out: Path
) -> None:
    cloud.faults.add(FaultRule("oss", DENIED, "UploadPart", f"{bucket.name}/{BIG}", skip=1))
    with pytest.raises(Refused):
        upload_bucket(store, out, scan(out).files, SDXL, V1)
    gone = Respond(404, "NoSuchUpload")
    cloud.faults.add(FaultRule("oss", gone, "ListParts", f"{bucket.name}/{BIG}"))
    upload_bucket(store, out, scan(out).files, SDXL, V1)
    assert versions(bucket, store) == [Candidate(SDXL, V1)]


def test_a_job_that_is_killed_goes_on_where_it_was(
    cloud: LocalCloud, bucket: RawBucket, store: OssStore, out: Path
) -> None:
    where = f"{bucket.name}/{BIG}"
    cloud.faults.add(FaultRule("oss", Delay(60.0), "UploadPart", where, skip=1))
    job = subprocess.Popen([sys.executable, "-c", JOB, cloud.endpoint(REGION), bucket.name, str(out)])
    until(lambda: cloud.counters.count("UploadPart", where) >= 1, "the first part to be there")
    job.kill()
    job.wait()
    cloud.faults.clear()
    assert versions(bucket, store) == []
    upload_bucket(store, out, scan(out).files, SDXL, V1)
    assert versions(bucket, store) == [Candidate(SDXL, V1)]
    assert cloud.counters.bytes_in("UploadPart", where) <= PART_BYTES + len(FILES["unet/big.safetensors"])
    assert bucket.uploads() == set()


@pytest.mark.parametrize(
    "happens",
    [
        lambda out: (out / "config.json").write_bytes(b"[]"),
        lambda out: (out / "new").write_bytes(b""),
        lambda out: (out / "config.json").unlink(),
    ],
    ids=["written", "came", "went"],
)
def test_a_directory_that_changes_meanwhile_is_no_version(
    bucket: RawBucket, store: OssStore, out: Path, happens: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(happens)
    real = drop_module._sent

    def sent(store: Store, source: Path, name: str, found: Found, key: str, token: str | None) -> str:
        digest = real(store, source, name, found, key, token)
        if name == "empty":
            happens(out)
        return digest

    monkeypatch.setattr(drop_module, "_sent", sent)
    with pytest.raises(Conflict, match="changed while it was read"):
        upload_bucket(store, out, scan(out).files, SDXL, V1)
    assert versions(bucket, store) == []


def test_files_of_another_job_are_no_part_of_a_version_and_named(bucket: RawBucket, store: OssStore, out: Path) -> None:
    store.put("team/sdxl/v1/stray.bin", b"1", PutMode.CREATE)
    with pytest.raises(Conflict, match=r"stray\.bin exists in the bucket") as reported:
        upload_bucket(store, out, scan(out).files, SDXL, V1)
    assert "another job" in reported.value.hint
    assert versions(bucket, store) == []
    store.delete("team/sdxl/v1/stray.bin")
    upload_bucket(store, out, scan(out).files, SDXL, V1)
    assert versions(bucket, store) == [Candidate(SDXL, V1)]


def test_two_jobs_with_the_same_files_at_once_both_succeed(bucket: RawBucket, store: OssStore, out: Path) -> None:
    (out / "unet" / "big.safetensors").write_bytes(b"small here")
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(upload_bucket, store, out, scan(out).files, SDXL, V1) for _ in range(4)]:
            done.result()
    assert versions(bucket, store) == [Candidate(SDXL, V1)]


@pytest.mark.parametrize("make", [lambda out: (out / "x").symlink_to(out), lambda out: (out / "a\nb").touch()])
def test_a_link_or_a_name_that_is_not_allowed_is_refused_before_anything_is_sent(
    bucket: RawBucket, store: OssStore, out: Path, make: object
) -> None:
    assert callable(make)
    make(out)
    with pytest.raises(Invalid):
        upload_bucket(store, out, scan(out).files, SDXL, V1)
    assert bucket.all_keys() == set()


@pytest.mark.parametrize("server", [(), ("--server", "http://127.0.0.1:9")])
def test_into_a_registry_of_another_kind_nothing_is_brought(call: Calling, out: Path, server: tuple[str, ...]) -> None:
    call.change(
        f'kind = "directory"\npath = "{call.home}/registry"',
        'kind = "http"\nmodels = ["m"]\nurl = "http://127.0.0.1:9/i.json"',
    )
    reported = call("publish", "m@v1", "--from", str(out), *server)
    assert (reported.code, "registry models of m is of kind http" in reported.err) == (Exit.USAGE, True)
    assert call("publish", "nobody@v1", "--from", str(out), *server).code == Exit.NOT_FOUND
