"""Functions through the vendor's client: merge rules, validation and views."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from alibabacloud_fc20230330 import models
from alibabacloud_fc20230330.client import Client

from tests.emulators.fc.calls import (
    ACCOUNT,
    REGION,
    Cloud,
    container,
    create,
    function_input,
    get,
    raw,
    refused,
    update,
)

VPC = models.VPCConfig(vpc_id="vpc-1", v_switch_ids=["vsw-1"], security_group_id="sg-1")


def oss(*places: tuple[str, str]) -> models.OSSMountConfig:
    points = [
        models.OSSMountPoint(bucket_name="b", bucket_path=path, mount_dir=mount_dir, read_only=True)
        for path, mount_dir in places
    ]
    return models.OSSMountConfig(mount_points=points)


def nas(*dirs: str, server: str = "host.nas.aliyuncs.com:/models") -> models.NASConfig:
    points = [models.NASMountConfig(server_addr=server, mount_dir=mount_dir) for mount_dir in dirs]
    return models.NASConfig(user_id=0, group_id=0, mount_points=points)


def health(**ranges: int) -> models.CustomContainerConfig:
    config = models.CustomHealthCheckConfig(http_get_url="/health", **ranges)
    return container(health_check_config=config)


def test_a_function_is_shown_as_it_was_made(client: Client) -> None:
    create(client, environment_variables={"A": "1"}, description="d", gpu_config=models.GPUConfig(gpu_type="t"))
    shown = get(client)
    assert (shown.runtime, shown.handler, shown.memory_size) == ("custom-container", "index.handler", 512)
    assert shown.function_arn == f"acs:fc:{REGION}:{ACCOUNT}:functions/show"
    assert (shown.state, shown.last_update_status) == ("Active", "Successful")
    assert shown.environment_variables == {"A": "1"}
    assert shown.gpu_config.gpu_type == "t"
    assert shown.description == "d"


def test_the_same_name_twice_is_refused(client: Client) -> None:
    create(client)
    assert refused(lambda: create(client))[:2] == (409, "FunctionAlreadyExists")


def test_what_an_update_omits_stays(client: Client) -> None:
    create(client, environment_variables={"A": "1"}, oss_mount_config=oss(("/v1", "/mnt/a")), cpu=1.0)
    update(client, memory_size=1024)
    shown = get(client)
    assert (shown.memory_size, shown.cpu, shown.handler) == (1024, 1.0, "index.handler")
    assert shown.environment_variables == {"A": "1"}
    assert shown.oss_mount_config.mount_points[0].bucket_path == "/v1"


def test_a_nested_object_replaces_the_one_before_whole(client: Client) -> None:
    create(client, vpc_config=VPC, environment_variables={"A": "1", "B": "2"})
    update(client, vpc_config=models.VPCConfig(vpc_id="vpc-2"), environment_variables={"B": "3"})
    shown = get(client)
    assert (shown.vpc_config.vpc_id, shown.vpc_config.security_group_id) == ("vpc-2", None)
    assert shown.environment_variables == {"B": "3"}


def test_an_empty_mount_list_unmounts_everything(client: Client) -> None:
    create(client, oss_mount_config=oss(("/v1", "/mnt/a")))
    update(client, oss_mount_config=models.OSSMountConfig())
    assert get(client).oss_mount_config.mount_points == []


def test_the_port_stays_when_the_container_is_replaced_without_one(client: Client) -> None:
    create(client, custom_container_config=container(port=8123))
    update(client, custom_container_config=container(port=None, image="registry/ns/show:v2"))
    shown = get(client).custom_container_config
    assert (shown.port, shown.image) == (8123, "registry/ns/show:v2")
    update(client, custom_container_config=container(port=8124))
    assert get(client).custom_container_config.port == 8124


def test_the_image_is_shown_resolved_to_its_digest_and_without_passwords(cloud: Cloud, client: Client) -> None:
    cloud.region.put_image("registry:5000/ns/show:v1", ["x"], digest="sha256:" + "a" * 64)
    auth = models.RegistryAuthConfig(user_name="u", password="p")
    registry = models.RegistryConfig(auth_config=auth)
    create(
        client,
        custom_container_config=container(image="registry:5000/ns/show:v1", registry_config=registry),
    )
    shown = get(client).custom_container_config
    assert shown.resolved_image_uri == "registry:5000/ns/show@sha256:" + "a" * 64
    assert shown.registry_config.auth_config is None


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("no handler", {"handler": None}, "Handler is required but not provided"),
    ("an empty handler", {"handler": ""}, "Handler is required but not provided"),
    ("no runtime", {"runtime": None}, "Runtime is required"),
    ("code beside a container", {"code": models.InputCodeLocation(zip_file="eA==")}, "zipFile must be set"),
    ("no image", {"custom_container_config": models.CustomContainerConfig()}, "image is required"),
    ("a port out of range", {"custom_container_config": container(port=70000)}, "port is 70000"),
    ("a health period of 0", {"custom_container_config": health(period_seconds=0)}, "periodSeconds is 0"),
    ("a health timeout of 4", {"custom_container_config": health(timeout_seconds=4)}, "expected 1 to 3"),
    ("memory of 129 MB", {"memory_size": 129}, "must be a multiple of 64 MB. (actual: '129')"),
    ("memory of 64 MB", {"memory_size": 64}, "memorySize is 64"),
    ("a timeout of a week", {"timeout": 7 * 86400}, "timeout is"),
    ("a concurrency of 201", {"instance_concurrency": 201}, "instanceConcurrency is 201"),
    ("a reserved variable", {"environment_variables": {"FC_X": "1"}}, "is reserved"),
    ("a variable with a digit first", {"environment_variables": {"1A": "1"}}, "must start with a letter"),
    ("a variable with a dash", {"environment_variables": {"A-B": "1"}}, "must start with a letter"),
    ("5 KB of variables", {"environment_variables": {"A": "x" * 5000}}, "take 5001 bytes"),
    ("OSS without a role", {"role": None, "oss_mount_config": oss(("/", "/mnt/a"))}, "role is required"),
    ("NAS without a network", {"nas_config": nas("/mnt/n")}, "vpcConfig is required"),
    (
        "six OSS mounts",
        {"oss_mount_config": oss(*((f"/{i}", f"/mnt/{i}") for i in range(6)))},
        "has 6 mount points",
    ),
    (
        "six NAS mounts",
        {"nas_config": nas(*(f"/mnt/{i}" for i in range(6))), "vpc_config": VPC},
        "has 6 mount points",
    ),
    (
        "one directory twice",
        {"oss_mount_config": oss(("/a", "/mnt/a"), ("/b", "/mnt/a/"))},
        "mountDir '/mnt/a/' conflicts with '/mnt/a'",
    ),
    ("a directory in another", {"oss_mount_config": oss(("/a", "/mnt"), ("/b", "/mnt/a"))}, "conflicts"),
    ("the reverse of that", {"oss_mount_config": oss(("/a", "/mnt/a"), ("/b", "/mnt"))}, "conflicts"),
    (
        "NAS over OSS",
        {"oss_mount_config": oss(("/a", "/mnt/a")), "nas_config": nas("/mnt/a"), "vpc_config": VPC},
        "conflicts",
    ),
    ("a relative directory", {"oss_mount_config": oss(("/a", "mnt"))}, "expected an absolute directory"),
    ("a directory that climbs", {"oss_mount_config": oss(("/a", "/mnt/../etc"))}, "expected an absolute"),
    ("the root itself", {"oss_mount_config": oss(("/a", "/"))}, "other than /"),
    ("a prefix that climbs", {"oss_mount_config": oss(("/a/../b", "/mnt/a"))}, "bucketPath is"),
    (
        "no bucket",
        {"oss_mount_config": models.OSSMountConfig(mount_points=[models.OSSMountPoint()])},
        "bucketName",
    ),
    (
        "a NAS address without a path",
        {"nas_config": nas("/mnt/n", server="host"), "vpc_config": VPC},
        "serverAddr",
    ),
    (
        "a NAS address that climbs",
        {"nas_config": nas("/mnt/n", server="host:/../x"), "vpc_config": VPC},
        "serverAddr",
    ),
    ("another runtime without code", {"runtime": "python3.10"}, "Either ossBucketName/ossObjectName"),
]


@pytest.mark.parametrize(("changes", "expected"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_configuration_that_may_not_be_is_refused(client: Client, changes: dict[str, Any], expected: str) -> None:
    status, code, message = refused(lambda: create(client, **changes))
    assert (status, code) == (400, "InvalidArgument")
    assert expected in message
    assert client.list_functions(models.ListFunctionsRequest()).body.functions == []


@pytest.mark.parametrize("name", ["", "1st", "-x", "a b", "x" * 65])
def test_an_invalid_name_is_refused(client: Client, name: str) -> None:
    assert refused(lambda: create(client, name))[:2] == (400, "InvalidArgument")


def test_a_refused_update_changes_nothing(client: Client) -> None:
    create(client)
    assert refused(lambda: update(client, timeout=20, memory_size=100))[0] == 400
    assert get(client).timeout == 10


def test_just_under_four_kilobytes_of_variables_are_kept(client: Client) -> None:
    create(client, environment_variables={"A": "x" * 4095})
    assert refused(lambda: update(client, environment_variables={"A": "x" * 4096}))[0] == 400


def test_a_network_is_not_asked_for_where_that_is_switched_off(make_cloud: Any) -> None:
    from syncd.localcloud.fc import Settings

    client = make_cloud(Settings(create_s=0, nas_needs_vpc=False)).client()
    assert create(client, nas_config=nas("/mnt/n")).nas_config.mount_points[0].mount_dir == "/mnt/n"


def test_a_runtime_with_code_has_no_state_and_does_not_show_its_code(client: Client) -> None:
    code = models.InputCodeLocation(zip_file="eA==")
    create(client, runtime="python3.10", custom_container_config=None, code=code)
    shown = get(client)
    assert (shown.state, shown.last_update_status) == (None, None)


def test_lists_come_in_pages_without_state(client: Client) -> None:
    for name in ("a1", "a2", "a3", "b1"):
        create(client, name)
    names: list[str] = []
    token = None
    while token != "":
        request = models.ListFunctionsRequest(prefix="a", limit=2, next_token=token)
        page = client.list_functions(request).body
        names += [f.function_name for f in page.functions]
        assert all(f.state is None and f.last_update_status is None for f in page.functions)
        token = page.next_token
    assert names == ["a1", "a2", "a3"]
    assert refused(lambda: client.list_functions(models.ListFunctionsRequest(limit=101)))[0] == 400


def test_a_deleted_function_is_gone_and_its_name_is_free(client: Client) -> None:
    create(client)
    assert client.delete_function("show").status_code == 204
    assert refused(lambda: client.delete_function("show"))[:2] == (404, "FunctionNotFound")
    create(client)


def test_tags_are_put_listed_and_taken_away(client: Client) -> None:
    arn = create(client, tags=[models.Tag(key="team", value="ml")]).function_arn
    body = models.TagResourcesInput(
        resource_id=[arn], resource_type="function", tag=[models.Tag(key="stage", value="prod")]
    )
    client.tag_resources(models.TagResourcesRequest(body=body))
    listed = models.ListTagResourcesRequest(resource_id=[arn], resource_type="function")
    tags = {t.tag_key: t.tag_value for t in client.list_tag_resources(listed).body.tag_resources}
    assert tags == {"team": "ml", "stage": "prod"}
    untag = models.UntagResourcesRequest(resource_id=[arn], resource_type="function", tag_key=["team"])
    client.untag_resources(untag)
    assert [t.key for t in get(client).tags] == ["stage"]
    elsewhere = models.ListTagResourcesRequest(resource_id=["acs:fc:x"], resource_type="function")
    assert refused(lambda: client.list_tag_resources(elsewhere))[:2] == (403, "AccessDenied")


def test_an_operation_that_is_not_modelled_says_so(client: Client) -> None:
    status, code, _ = refused(lambda: client.list_triggers("show", models.ListTriggersRequest()))
    assert (status, code) == (501, "NotImplemented")


def test_a_code_read_back_of_a_container_is_empty(client: Client) -> None:
    create(client)
    assert client.get_function_code("show", models.GetFunctionCodeRequest()).body.url == ""


def test_a_function_moves_to_another_resource_group_without_an_update(client: Client) -> None:
    arn = create(client, resource_group_id="rg-1").function_arn
    moved = models.ChangeResourceGroupInput(new_resource_group_id="rg-2", resource_id=arn, resource_type="function")
    answer = client.change_resource_group(models.ChangeResourceGroupRequest(body=moved)).body
    assert (answer.old_resource_group_id, answer.new_resource_group_id) == ("rg-1", "rg-2")
    assert get(client).resource_group_id == "rg-2"


@pytest.mark.parametrize(
    ("body", "message"), [(b"{", "is not JSON"), (b"[]", "not a JSON object"), (b"\xff", "is not JSON")]
)
def test_a_body_that_is_not_a_json_object_is_refused(cloud: Cloud, body: bytes, message: str) -> None:
    status, answer = raw(cloud, "POST", "/2023-03-30/functions", body)
    assert status == 400
    assert message in json.loads(answer)["Message"]


def test_a_page_that_was_never_given_is_refused(client: Client) -> None:
    request = models.ListFunctionsRequest(next_token="nowhere")
    assert refused(lambda: client.list_functions(request))[:2] == (400, "InvalidArgument")


@pytest.mark.parametrize("words", ["{", '{"a": 1}'])
def test_an_invalid_list_in_the_query_is_refused(cloud: Cloud, words: str) -> None:
    query = f"ResourceId={quote(words)}&ResourceType=function"
    assert raw(cloud, "GET", f"/2023-03-30/tags-v2?{query}")[0] == 400


def test_tags_of_another_kind_of_resource_are_refused(client: Client) -> None:
    request = models.ListTagResourcesRequest(resource_id=["x"], resource_type="layer")
    assert refused(lambda: client.list_tag_resources(request))[:2] == (400, "InvalidArgument")


def test_tags_are_listed_for_every_function_when_none_is_named(client: Client) -> None:
    for name in ("a", "b"):
        create(client, name, tags=[models.Tag(key="k", value=name)])
    request = models.ListTagResourcesRequest(resource_type="function")
    assert [t.tag_value for t in client.list_tag_resources(request).body.tag_resources] == ["a", "b"]


def test_a_function_that_is_had_again_stays_as_it_is(cloud: Cloud, client: Client) -> None:
    document = function_input().to_map()
    cloud.region.ensure_function(document)
    update(client, timeout=77)
    cloud.region.ensure_function(document)
    assert get(client).timeout == 77


def test_what_the_service_does_not_know_is_ignored_and_null_is_as_good_as_omitted(cloud: Cloud, client: Client) -> None:
    create(client, environment_variables={"A": "1"})
    changes = {"functionName": "other", "novelty": {"x": 1}, "environmentVariables": None, "timeout": 12}
    assert raw(cloud, "PUT", "/2023-03-30/functions/show", json.dumps(changes).encode())[0] == 200
    shown = get(client)
    assert (shown.function_name, shown.timeout, shown.environment_variables) == ("show", 12, {"A": "1"})
