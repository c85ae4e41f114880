"""Mounts: the bytes that a version serves, and the errors of failed mounts."""

import hashlib
import os
from pathlib import Path

import pytest
from alibabacloud_fc20230330 import models
from alibabacloud_fc20230330.client import Client

from tests.emulators.fc.calls import REGION, Cloud, alias, create, flip, publish, refused, shown, update

VPC = models.VPCConfig(vpc_id="vpc-1", v_switch_ids=["vsw-1"], security_group_id="sg-1")


def oss(path: str, bucket: str = "models", **more: str) -> models.OSSMountConfig:
    given = {"bucket_name": bucket, "bucket_path": path, "mount_dir": "/mnt/model", **more}
    return models.OSSMountConfig(mount_points=[models.OSSMountPoint(read_only=True, **given)])


def nas(path: str) -> models.NASConfig:
    point = models.NASMountConfig(server_addr=f"x.nas.aliyuncs.com:{path}", mount_dir="/mnt/nas")
    return models.NASConfig(user_id=0, group_id=0, mount_points=[point])


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put_model(cloud: Cloud, version: str, data: bytes) -> None:
    cloud.buckets.put("models", f"sdxl/{version}/")
    cloud.buckets.put("models", f"sdxl/{version}/unet/weights.bin", data)


def served(client: Client, qualifier: str | None = None, path: str = "/mnt/model/unet/weights.bin") -> str | None:
    digest: str | None = shown(client, qualifier, files=[path])["files"][path]
    return digest


def test_each_version_serves_the_bytes_of_its_own_mount_before_and_after_a_flip(cloud: Cloud, client: Client) -> None:
    put_model(cloud, "v1", b"one")
    put_model(cloud, "v2", b"two")
    create(client, oss_mount_config=oss("/sdxl/v1"), environment_variables={"RELEASE": "1"})
    alias(client, publish(client))
    assert served(client, "prod") == sha256(b"one")
    update(client, oss_mount_config=oss("/sdxl/v2"), environment_variables={"RELEASE": "2"})
    second = publish(client)
    assert served(client, "prod") == sha256(b"one")
    flip(client, version_id=second)
    assert served(client, "prod") == sha256(b"two")
    assert (served(client, "1"), served(client)) == (sha256(b"one"), sha256(b"two"))


def test_weights_draw_the_bytes_of_both_versions(cloud: Cloud, client: Client) -> None:
    put_model(cloud, "v1", b"one")
    put_model(cloud, "v2", b"two")
    create(client, oss_mount_config=oss("/sdxl/v1"))
    publish(client)
    update(client, oss_mount_config=oss("/sdxl/v2"))
    publish(client)
    alias(client, "1", {"2": 0.5})
    cloud.chances[:] = [0.1, 0.9]
    assert [served(client, "prod"), served(client, "prod")] == [sha256(b"two"), sha256(b"one")]


def test_a_root_mount_shows_every_version_below_it(cloud: Cloud, client: Client) -> None:
    put_model(cloud, "v1", b"one")
    put_model(cloud, "v2", b"two")
    create(client, oss_mount_config=oss("/"))
    assert shown(client, list="/mnt/model/sdxl")["listing"] == ["v1", "v2"]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (oss("/sdxl/v1", bucket="ghost"), "oss://ghost/sdxl/v1: bucket not found"),
        (oss("/sdxl/v9"), "oss://models/sdxl/v9: bucket not found or bucket path does not exist"),
        (oss("/sdxl/v1/weights"), "bucket path does not exist"),
    ],
)
def test_a_bucket_or_marker_that_is_missing_shows_at_the_first_call(
    cloud: Cloud, client: Client, config: models.OSSMountConfig, expected: str
) -> None:
    put_model(cloud, "v1", b"one")
    create(client, oss_mount_config=config)
    status, code, message = refused(lambda: shown(client))
    assert (status, code) == (412, "FunctionNotStarted")
    assert expected in message
    assert list((cloud.region.root / "instances").iterdir()) == []


def test_a_prefix_that_gets_its_marker_later_can_be_mounted_then(cloud: Cloud, client: Client) -> None:
    create(client, oss_mount_config=oss("/sdxl/v1"))
    assert refused(lambda: shown(client))[0] == 412
    put_model(cloud, "v1", b"one")
    assert served(client) == sha256(b"one")


def test_the_internal_endpoint_of_another_region_times_out(cloud: Cloud, client: Client) -> None:
    put_model(cloud, "v1", b"one")
    elsewhere = oss("/sdxl/v1", endpoint="http://oss-cn-shanghai-internal.aliyuncs.com")
    create(client, oss_mount_config=elsewhere)
    assert "deadline exceeded" in refused(lambda: shown(client))[2]
    update(client, oss_mount_config=oss("/sdxl/v1", endpoint=f"http://oss-{REGION}-internal.aliyuncs.com"))
    assert served(client) == sha256(b"one")


@pytest.mark.parametrize("zone", ["cn-shanghai-g", "ap-southeast-1c"])
def test_an_accelerator_of_another_region_times_out_and_of_this_one_serves(
    cloud: Cloud, client: Client, zone: str
) -> None:
    put_model(cloud, "v1", b"one")
    elsewhere = f"http://{zone}-internal.oss-data-acc.aliyuncs.com"
    create(client, oss_mount_config=oss("/sdxl/v1", endpoint=elsewhere))
    assert "deadline exceeded" in refused(lambda: shown(client))[2]
    here = f"http://{REGION}-j-internal.oss-data-acc.aliyuncs.com"
    update(client, oss_mount_config=oss("/sdxl/v1", endpoint=here))
    assert served(client) == sha256(b"one")


def test_a_nas_directory_is_shared_with_who_writes_it(cloud: Cloud, client: Client) -> None:
    directory = cloud.region.nas_root / "x.nas.aliyuncs.com" / "models" / "v1"
    directory.mkdir(parents=True)
    (directory / "weights.bin").write_bytes(b"one")
    create(client, nas_config=nas("/models/v1"), vpc_config=VPC)
    assert served(client, path="/mnt/nas/weights.bin") == sha256(b"one")
    (directory / "weights.bin").write_bytes(b"changed")
    assert served(client, path="/mnt/nas/weights.bin") == sha256(b"changed")


def test_a_wrong_nas_path_mounts_an_empty_directory(cloud: Cloud, client: Client) -> None:
    create(client, nas_config=nas("/models/typo"), vpc_config=VPC)
    assert shown(client, list="/mnt/nas")["listing"] == []
    assert (cloud.region.nas_root / "x.nas.aliyuncs.com" / "models" / "typo").is_dir()


def test_oss_and_nas_stand_beside_each_other(cloud: Cloud, client: Client) -> None:
    put_model(cloud, "v1", b"one")
    create(client, oss_mount_config=oss("/sdxl/v1"), nas_config=nas("/m"), vpc_config=VPC)
    assert shown(client, list="/mnt")["listing"] == ["model", "nas"]


def test_ending_an_instance_removes_its_mounts_and_nothing_behind_them(cloud: Cloud, client: Client) -> None:
    put_model(cloud, "v1", b"one")
    directory = cloud.region.nas_root / "x.nas.aliyuncs.com" / "m"
    directory.mkdir(parents=True)
    (directory / "keep").write_bytes(b"kept")
    create(client, oss_mount_config=oss("/sdxl/v1"), nas_config=nas("/m"), vpc_config=VPC)
    root = Path(shown(client)["env"]["LOCALCLOUD_ROOT"])
    client.delete_function("show")
    assert not root.exists()
    assert (directory / "keep").read_bytes() == b"kept"
    assert os.listdir(cloud.buckets.root / "models") == ["sdxl"]  # noqa: PTH208 - names alone


def test_a_directory_that_can_not_be_made_is_a_refusal(cloud: Cloud, client: Client) -> None:
    put_model(cloud, "v1", b"one")
    create(client, oss_mount_config=oss("/sdxl/v1", mount_dir="/mnt/" + "x" * 300))
    status, _, message = refused(lambda: shown(client))
    assert status == 412
    assert "File name too long" in message
