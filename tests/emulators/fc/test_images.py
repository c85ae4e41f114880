"""Images of a registry on this machine: resolved when a function is saved, unpacked when an instance starts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import syncd.localcloud
from alibabacloud_fc20230330.client import Client
from syncd.artifact.manifest import SEAL_PATH
from syncd.localcloud.fc.images import image_pull

from tests.emulators.distribution import Distribution, distribution
from tests.emulators.fc.calls import Cloud, alias, container, create, eventually, get, invoke, publish, refused, update
from tests.support.sources import content, manifest_of
from tests.unit.oci.kitchen import Files, Kitchen, push_base, repository

EXAMPLE = [sys.executable, "-I", str(Path(syncd.localcloud.__file__).parent / "example_function.py")]
pytestmark = pytest.mark.needs_docker_registry


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Distribution]:
    (tmp_path / "registry").mkdir()
    with distribution(tmp_path / "registry") as made:
        push_base(made)
        yield made


def bake(registry: Distribution, version: str = "v1") -> tuple[str, str, str]:
    """An image: its name with tag, its digest, the digest of the version in it."""
    files = {"weights.bin": content(version, 1_200_000), "tokenizer/vocab.txt": b"a\nb\n", "empty": b""}
    made = manifest_of(files, version=version), Files(files)
    baked = Kitchen(registry.origin).bake(made, SYNCD_PATH="/models/sdxl", SYNCD_MODEL="sdxl", OTHER="x")
    return f"{baked.repository}:{baked.tag}", f"sha256:{baked.digest}", made[0].digest.hex


def serve(client: Client, image: str) -> None:
    create(
        client,
        custom_container_config=container(image=image, command=EXAMPLE, entrypoint=[]),
        environment_variables={"MODELS": "sdxl=SYNCD_PATH"},
    )


def test_a_function_answers_with_the_digest_of_what_its_image_has(
    cloud: Cloud, client: Client, registry: Distribution
) -> None:
    name, digest, version = bake(registry)
    serve(client, name)
    found = get(client).custom_container_config
    assert found.resolved_image_uri == f"{name.rpartition(':')[0]}@{digest}"
    answered = json.loads(invoke(client).body)
    assert "models" in answered, answered
    assert answered["models"]["sdxl"]["digest"] == version


def test_two_instances_share_what_was_unpacked(cloud: Cloud, client: Client, registry: Distribution) -> None:
    name, digest, version = bake(registry)
    serve(client, name)
    alias(client, publish(client))
    for qualifier in ("LATEST", "prod"):
        assert json.loads(invoke(client, qualifier).body)["models"]["sdxl"]["digest"] == version
    pulled = cloud.region.root / "pulled"
    assert [each.name for each in pulled.iterdir()] == [digest.partition(":")[2]]
    assert (pulled / digest.partition(":")[2] / "models/sdxl" / SEAL_PATH).is_file()


def test_a_tag_that_the_registry_does_not_have_fails_the_update_and_the_old_image_serves_on(
    cloud: Cloud, client: Client, registry: Distribution
) -> None:
    name, _, version = bake(registry)
    serve(client, name)
    alias(client, publish(client))
    missing = f"{name.rpartition(':')[0]}:never"
    update(client, custom_container_config=container(image=missing, command=EXAMPLE, entrypoint=[]))
    found = get(client)
    assert (found.last_update_status, found.last_update_status_reason_code) == ("Failed", "ImageNotFound")
    assert missing in found.last_update_status_reason
    assert not found.custom_container_config.resolved_image_uri
    assert json.loads(invoke(client).body)["models"]["sdxl"]["digest"] == version


def test_a_tag_that_is_deleted_breaks_even_published_versions(
    cloud: Cloud, client: Client, registry: Distribution
) -> None:
    name, digest, _ = bake(registry)
    serve(client, name)
    alias(client, publish(client))
    assert invoke(client, "prod").status == 200
    place = name.partition("/")[2].rpartition(":")[0]
    with registry.client(place) as http:
        assert http.delete(f"/v2/{place}/manifests/{digest}").status_code == 202
    status, code, message = refused(lambda: invoke(client, "prod"))
    assert (status, code) == (412, "FunctionNotStarted")
    assert "no longer exists" in message


def test_a_tag_that_is_moved_breaks_what_resolved_it_before(
    cloud: Cloud, client: Client, registry: Distribution
) -> None:
    name, _, _ = bake(registry)
    other, digest, _ = bake(registry, "v2")
    serve(client, name)
    assert invoke(client).status == 200
    place, tag = name.partition("/")[2].rsplit(":", 1)
    moved = repository(registry.origin, place).manifest(digest)
    with registry.client(place) as http:
        done = http.put(f"/v2/{place}/manifests/{tag}", content=moved.body, headers={"Content-Type": moved.kind})
    assert done.status_code == 201
    assert f"now it is {digest}" in refused(lambda: invoke(client))[2]
    assert other != name


def test_what_was_pulled_goes_on_while_the_registry_is_away(
    cloud: Cloud, client: Client, registry: Distribution
) -> None:
    name, _, version = bake(registry)
    serve(client, name)
    assert invoke(client).status == 200
    registry.stop()
    assert json.loads(invoke(client).body)["models"]["sdxl"]["digest"] == version


def test_a_registry_that_is_away_fails_the_save(cloud: Cloud, client: Client) -> None:
    serve(client, "127.0.0.1:9/team/sdxl:v1")
    eventually(lambda: get(client).state == "Failed")
    assert get(client).state_reason_code == "ImageNotFound"


def test_an_image_without_files_of_ours_has_its_command_and_no_directory(
    registry: Distribution, tmp_path: Path
) -> None:
    digest = image_pull.digest_of(f"{registry.origin.removeprefix('http://')}/bases/server:1.0")
    pulled = image_pull.ImageCache(tmp_path / "pulled").pull(
        f"{registry.origin.removeprefix('http://')}/bases/server@{digest}"
    )
    assert (pulled.argv, pulled.variables, pulled.directory) == (["/bin/serve"], {"SYNCD_MODEL": "old"}, None)
    pulled.link_into(tmp_path)
    assert not (tmp_path / "pulled").exists()


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("127.0.0.1:5000/a/b:c", True),
        ("localhost/a:c", True),
        ("[::1]:5000/a:c", True),
        ("127.0.0.1.example.com/a:c", False),
        ("registry:5000/a:c", False),
        ("demo/hello:1", False),
        ("localhost", False),
    ],
)
def test_only_a_registry_on_loopback_is_asked(name: str, wanted: bool) -> None:  # noqa: FBT001 -- a parameter
    assert image_pull.is_loopback(name) is wanted
