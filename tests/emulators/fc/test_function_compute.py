"""OSS and Function Compute together: functions serve the objects uploaded to OSS."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import oss2
import pytest
from alibabacloud_fc20230330 import models
from alibabacloud_fc20230330.client import Client
from alibabacloud_tea_openapi.models import Config
from syncd.localcloud.fc import FunctionCompute, Settings
from syncd.localcloud.server import LocalCloud

from tests.emulators.fc.calls import create, eventually, refused, shown, update
from tests.emulators.fc.test_invoke import lives
from tests.emulators.fc.test_mounts import oss
from tests.support.clouds import oss2_session

REGIONS = ("cn-hangzhou", "cn-shanghai")


@pytest.fixture
def fc(tmp_path: Path) -> FunctionCompute:
    return FunctionCompute(tmp_path / "nas", Settings(create_s=0, update_s=0))


@pytest.fixture
def local(tmp_path: Path, fc: FunctionCompute) -> Iterator[LocalCloud]:
    with LocalCloud(tmp_path / "cloud", REGIONS, fc=fc) as cloud:
        yield cloud


def client_of(cloud: LocalCloud, region: str) -> Client:
    return Client(
        Config(
            access_key_id=cloud.access_key_id,
            access_key_secret=cloud.access_key_secret,
            region_id=region,
            endpoint=cloud.endpoint(region).removeprefix("http://"),
            protocol="http",
        )
    )


def put(cloud: LocalCloud, region: str, bucket: str, objects: dict[str, bytes]) -> None:
    auth = oss2.Auth(cloud.access_key_id, cloud.access_key_secret)
    target = oss2.Bucket(auth, cloud.endpoint(region), bucket, session=oss2_session())
    target.create_bucket()
    for key, data in objects.items():
        target.put_object(key, data)


def test_a_function_serves_what_was_put_into_its_regions_bucket(local: LocalCloud) -> None:
    put(local, "cn-hangzhou", "models", {"sdxl/v1/": b"", "sdxl/v1/w.bin": b"one", "sdxl/v2/w.bin": b"two"})
    client = client_of(local, "cn-hangzhou")
    create(client, oss_mount_config=oss("/sdxl/v1"))
    path = "/mnt/model/w.bin"
    assert shown(client, files=[path])["files"][path] == hashlib.sha256(b"one").hexdigest()
    update(client, oss_mount_config=oss("/sdxl/v2"))
    assert "bucket path does not exist" in refused(lambda: shown(client))[2]


def test_regions_know_nothing_of_each_others_functions_and_buckets(local: LocalCloud) -> None:
    put(local, "cn-hangzhou", "models", {"v1/": b"", "v1/w.bin": b"one"})
    create(client_of(local, "cn-hangzhou"))
    client = client_of(local, "cn-shanghai")
    assert refused(lambda: client.get_function("show", models.GetFunctionRequest()))[1] == "FunctionNotFound"
    create(client, oss_mount_config=oss("/v1"))
    assert "bucket not found" in refused(lambda: shown(client))[2]


def test_a_bucket_of_another_region_is_mounted_by_its_public_endpoint_only(local: LocalCloud) -> None:
    put(local, "cn-hangzhou", "models", {"v1/": b"", "v1/w.bin": b"one"})
    client = client_of(local, "cn-shanghai")
    create(client, oss_mount_config=oss("/v1", endpoint="http://oss-cn-hangzhou-internal.aliyuncs.com"))
    assert "deadline exceeded" in refused(lambda: shown(client))[2]
    update(client, oss_mount_config=oss("/v1", endpoint="https://oss-cn-hangzhou.aliyuncs.com"))
    assert shown(client, list="/mnt/model")["listing"] == ["w.bin"]


def test_a_cloud_that_is_stopped_has_no_functions_running_and_starts_as_it_was(
    local: LocalCloud, fc: FunctionCompute
) -> None:
    create(client_of(local, "cn-hangzhou"))
    fc.regions["cn-hangzhou"].put_image("r/other:1", ["true"])
    pid = shown(client_of(local, "cn-hangzhou"))["pid"]
    local.stop()
    eventually(lambda: not lives(pid))
    local.start()
    assert shown(client_of(local, "cn-hangzhou"))["pid"] != pid
