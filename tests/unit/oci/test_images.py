"""Base images are resolved for linux/amd64, and layers over them leave everything else unchanged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from syncd.errors import Corrupt, Invalid
from syncd.oci.images import BaseImage, base_of, blob_of, image_of
from syncd.oci.references import parse_image
from syncd.oci.repository import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX

from tests.emulators.distribution import MANIFEST, Distribution, digest
from tests.emulators.relay import ImageRelay
from tests.emulators.web import Reply, Request
from tests.support.sources import manifest_of
from tests.unit.oci.kitchen import BASE, CONFIG, Kitchen, model, push_base, push_document, repository, sha256

pytestmark = pytest.mark.needs_docker_registry


def resolve(origin: str, reference: str) -> BaseImage:
    host = origin.removeprefix("http://")
    return base_of(repository(origin, BASE, writes=False), parse_image(f"{host}/{BASE}{reference}"))


def described(digest_: str, system: str, machine: str, **more: Any) -> dict[str, Any]:
    platform = {"os": system, "architecture": machine}
    return {"mediaType": MANIFEST, "digest": digest_, "size": 1, "platform": platform, **more}


def index(*manifests: Mapping[str, Any]) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(manifests)}


def test_a_base_by_tag_is_the_base_by_its_digest(registry: Distribution) -> None:
    pushed = push_base(registry)
    by_tag, by_digest = resolve(registry.origin, ":1.0"), resolve(registry.origin, f"@{pushed}")
    assert f"sha256:{by_tag.digest}" == f"sha256:{by_digest.digest}" == pushed
    assert by_tag.layers == by_digest.layers


def test_of_an_index_the_image_for_linux_and_amd64_is_used_and_no_attestation(registry: Distribution) -> None:
    wanted = push_base(registry)
    other = push_base(registry, tag="arm", created="2026-11-03T00:00:00Z")
    notes = {"vnd.docker.reference.type": "attestation-manifest"}
    rows = [described(other, "unknown", "unknown", annotations=notes), described(other, "linux", "arm64")]
    push_document(registry, BASE, "many", index(*rows, described(wanted, "linux", "amd64")), OCI_INDEX)
    assert f"sha256:{resolve(registry.origin, ':many').digest}" == wanted


def test_an_index_of_dockers_own_kind_is_read_as_well(registry: Distribution) -> None:
    wanted = push_base(registry, tag="docker")
    push_document(registry, BASE, "list", {**index(described(wanted, "linux", "amd64")), "mediaType": DOCKER_LIST},
                  DOCKER_LIST)  # fmt: skip
    assert f"sha256:{resolve(registry.origin, ':list').digest}" == wanted


def test_the_error_for_an_index_without_our_platform_lists_its_platforms(registry: Distribution) -> None:
    other = push_base(registry, tag="arm")
    push_document(registry, BASE, "arms", index(described(other, "linux", "arm64")), OCI_INDEX)
    with pytest.raises(Invalid, match="expected an image for linux/amd64, got linux/arm64"):
        resolve(registry.origin, ":arms")


def test_an_image_for_another_machine_is_refused(registry: Distribution) -> None:
    push_base(registry, tag="arm", architecture="arm64")
    with pytest.raises(Invalid, match="expected an image for linux/amd64, got linux/arm64"):
        resolve(registry.origin, ":arm")


def test_layers_that_do_not_match_the_configuration_are_refused(registry: Distribution) -> None:
    push_base(registry, tag="odd", rootfs={"type": "layers", "diff_ids": []})
    with pytest.raises(Invalid, match="it has 1 layers and 0 layer digests"):
        resolve(registry.origin, ":odd")


@pytest.mark.parametrize(
    ("kind", "taken"),
    [
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", "application/vnd.oci.image.layer.v1.tar+gzip"),
        ("application/vnd.oci.image.layer.v1.tar+zstd", "application/vnd.oci.image.layer.v1.tar+zstd"),
    ],
)
def test_dockers_layers_become_those_of_oci(registry: Distribution, kind: str, taken: str) -> None:
    with registry.client(BASE) as client:
        document = client.get(f"/v2/{BASE}/manifests/1.0", headers={"Accept": MANIFEST}).json()
    for each in document["layers"]:
        each["mediaType"] = kind
    is_dockers = "docker" in kind
    if is_dockers:
        document["mediaType"] = DOCKER_MANIFEST
        document["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json"
    push_document(registry, BASE, "docker", document, DOCKER_MANIFEST if is_dockers else MANIFEST)
    assert [layer.kind for layer in resolve(registry.origin, ":docker").layers] == [taken]


def test_a_layer_at_another_address_is_refused(registry: Distribution, relay: ImageRelay) -> None:
    def foreign(request: Request) -> Reply | None:
        if "manifests" not in request.path:
            return None
        kinds = (b"oci.image.layer.v1.tar+gzip", b"docker.image.rootfs.foreign.diff.tar.gzip")
        body = relay.forward(request).body
        assert isinstance(body, bytes)
        return Reply(200, {"Content-Type": MANIFEST}, body.replace(*kinds))

    relay.web.faults.append(foreign)
    with pytest.raises(Invalid, match=r"rootfs\.foreign\.diff\.tar\.gzip', which cannot be copied"):
        resolve(relay.origin, ":1.0")


@pytest.mark.parametrize("path", ["manifests/sha256:", "blobs/sha256:"])
def test_a_base_that_does_not_match_its_digest_is_refused(registry: Distribution, relay: ImageRelay, path: str) -> None:
    pushed = push_base(registry)
    host = relay.origin.removeprefix("http://")
    relay.web.faults.append(
        lambda request: Reply(200, {"Content-Type": MANIFEST}, b"{}") if path in request.path else None
    )
    with pytest.raises(Corrupt, match="sha256"):
        base_of(repository(relay.origin, BASE, writes=False), parse_image(f"{host}/{BASE}@{pushed}"))


def test_a_reference_that_is_not_an_image_is_refused(registry: Distribution, relay: ImageRelay) -> None:
    host = relay.origin.removeprefix("http://")
    relay.web.faults.append(
        lambda request: Reply(200, {"Content-Type": "text/html"}, b"{}") if "manifests" in request.path else None
    )
    with pytest.raises(Invalid, match="expected an image, got 'text/html'"):
        base_of(repository(relay.origin, BASE, writes=False), parse_image(f"{host}/{BASE}:1.0"))


def test_an_image_keeps_the_bases_configuration_and_adds_ours(registry: Distribution) -> None:
    base = resolve(registry.origin, ":1.0")
    layer = blob_of(sha256(b"layer"), 5, "a file")
    made = image_of(base, manifest_of({"a": b"1"}), [layer], {"SYNCD_MODEL": "new", "A": "b=c"}, {"note": "yes"})
    config, document = json.loads(made.config.body), json.loads(made.manifest.body)
    assert config["config"]["Env"] == ["PATH=/bin", "A=b=c", "SYNCD_MODEL=new"]
    assert config["config"]["Cmd"] == ["/bin/serve"]
    assert config["config"]["Labels"]["kept"] == "yes"
    assert config["rootfs"]["diff_ids"][-1] == f"sha256:{sha256(b'layer')}"
    assert len(config["rootfs"]["diff_ids"]) == len(document["layers"]) == len(config["history"]) == 2
    assert document["config"] == {
        "mediaType": CONFIG,
        "digest": digest(made.config.body),
        "size": len(made.config.body),
    }
    assert document["annotations"]["note"] == config["config"]["Labels"]["note"] == "yes"
    assert made.manifest.digest == sha256(made.manifest.body)


def test_a_minimal_base_is_accepted(registry: Distribution) -> None:
    base = resolve(registry.origin, ":1.0")
    bare = {"architecture": "amd64", "os": "linux", "rootfs": base.config["rootfs"]}
    made = image_of(replace(base, config=bare), manifest_of({"a": b"1"}), [], {"A": "b"}, {})
    config = json.loads(made.config.body)
    assert "history" not in config
    assert config["config"]["Env"] == ["A=b"]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"config": ["a"]}, "'config': expected an object, got a list"),
        ({"config": {"Env": "PATH=/bin"}}, "'Env': expected a list, got a str"),
        ({"config": {"Labels": ["a"]}}, "'Labels': expected an object, got a list"),
        ({"history": {"a": 1}}, "'history': expected a list, got a dict"),
        ({"rootfs": None}, "'rootfs': expected an object, got nothing"),
    ],
)
def test_a_configuration_of_another_shape_is_refused(registry: Distribution, wrong: dict[str, Any], why: str) -> None:
    base = resolve(registry.origin, ":1.0")
    odd = replace(base, config={**base.config, **wrong})
    with pytest.raises(Invalid, match=why):
        image_of(odd, manifest_of({"a": b"1"}), [], {}, {})


def test_a_base_that_moved_is_another_image_and_the_old_one_stays(registry: Distribution) -> None:
    kitchen = Kitchen(registry.origin)
    old = kitchen.bake(model())
    push_base(registry, created="2026-11-09T00:00:00Z")
    new = kitchen.bake(model())
    assert old.base_digest != new.base_digest
    assert set(registry.tags("team/sdxl")) == {old.tag, new.tag}
    assert sum(layer.bytes_sent for layer in new.layers) == 0
