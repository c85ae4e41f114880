"""Signatures that cosign attached in an image registry: where they are found, and what a policy makes of them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import ModelName
from syncd.http.client import HttpClient, HttpSettings
from syncd.reconcile.trust.evidence import gather
from syncd.registry.oci.auth import OciAuth
from syncd.registry.oci.registry import OciRegistry
from syncd.registry.rules.file_filters import FileFilter
from syncd.registry.rules.filtered import FilteredRegistry
from syncd.registry.settings import OciSettings
from syncd.trust.policy import Mode, SigningAuthority, TrustEvidence, TrustRule, evaluate

from tests.emulators.distribution import Distribution, digest, distribution
from tests.emulators.web import Reply, Request, as_json
from tests.unit.registry.test_oci import OciWeb
from tests.unit.registry.webs import http_to
from tests.unit.trust.test_cosign import ANN, bundle_of, payload_of, signed, signers_of
from tests.unit.trust.test_dsse import KEYS

SDXL = ModelName("sdxl")
RULE = TrustRule(("*",), Mode.ENFORCE, signers=signers_of(ANN))
ARTIFACT = "application/vnd.dev.cosign.artifact.sig.v1+json"
BOB = KEYS["p-384"]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distribution]:
    with distribution(tmp_path_factory.mktemp("house")) as made:
        yield made


@pytest.fixture
def oci() -> Iterator[OciWeb]:
    oci = OciWeb()
    with oci.web:
        yield oci


def layer_of(payload: bytes, signature: str) -> dict[str, Any]:
    """A layer of a signature, as cosign writes it."""
    return {
        "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
        "digest": digest(payload),
        "size": len(payload),
        "annotations": {"dev.cosignproject.cosign/signature": signature},
    }


def sign(house: Distribution, model: str, pin: str, *keys: Any, payload: bytes = b"") -> None:
    signs = payload or payload_of(pin)
    layers = [layer_of(signs, signed(signs, key)) for key in keys]
    house.push_layers(model, f"{pin.replace(':', '-')}.sig", layers, [signs], {})


def evidence_of(
    registry: OciRegistry, model: ModelName, version: str = "v1", files: str = "", rule: TrustRule = RULE
) -> TrustEvidence:
    """What is known of a version, read as a release reads it."""
    filtered = FilteredRegistry(registry, files=FileFilter((files,) if files else ()))
    revision = filtered.resolve(model, version)
    listed = filtered.listing(model, revision)
    manifest = Manifest.of(
        model, version, (Entry(each.path, each.size_bytes, each.sha256) for each in listed if each.sha256)
    )
    return gather(filtered, "images", (model, revision), manifest, rule, threading.Event())


def of_house(house: Distribution, model: str, files: str = "") -> tuple[str, list[str]]:
    http = HttpClient(HttpSettings(house.origin), OciAuth(house.origin, None))
    found = evidence_of(OciRegistry(OciSettings(house.origin, (model,)), http), ModelName(model), files=files)
    return found.signer, [str(each) for each in evaluate(RULE, found)]


@pytest.mark.parametrize("layout", ["oras", "modelpack"])
def test_a_version_that_a_signer_signed_in_a_real_registry_passes(house: Distribution, layout: str) -> None:
    pin = house.push(f"signed-{layout}", "v1", {"w.bin": b"weights", "config.json": b"{}"}, layout)
    sign(house, f"signed-{layout}", pin, BOB, ANN)
    (ann,) = RULE.signers
    assert of_house(house, f"signed-{layout}") == (ann, [])
    assert of_house(house, f"signed-{layout}", "*.json") == (ann, []), "a part of the version is signed with it"


def test_a_version_without_a_signature_is_refused(house: Distribution) -> None:
    house.push("bare", "v1", {"w.bin": b"weights"})
    assert of_house(house, "bare") == ("", ["model.sig: is missing: the version is not signed"])


def test_another_key_or_the_signature_of_another_version_is_refused_with_its_place(house: Distribution) -> None:
    old = house.push("moved", "v0", {"w.bin": b"older"})
    pin = house.push("moved", "v1", {"w.bin": b"newer"})
    place = f"{pin.replace(':', '-')}.sig"
    sign(house, "moved", pin, BOB)
    by_another = f"{place}: no key of `signers` has signed it, or it was changed after it was signed"
    assert of_house(house, "moved") == ("", [by_another])
    sign(house, "moved", pin, ANN, payload=payload_of(old))
    assert of_house(house, "moved") == ("", [f"{place}: it signs the manifest '{old}', and not {pin}"])


def referrers(oci: OciWeb, pin: str, manifest: Mapping[str, Any], kind: str = ARTIFACT) -> Mapping[str, Any]:
    """An index with the manifest of a signature, which has no tag."""
    body = json.dumps(manifest).encode()
    oci.manifests[digest(body)] = body
    return {"manifests": [{"digest": digest(body), "artifactType": kind, "size": len(body)}]}


def _signature(oci: OciWeb, pin: str) -> Mapping[str, Any]:
    payload = payload_of(pin)
    oci.blobs[digest(payload)] = payload
    return {"layers": [layer_of(payload, signed(payload))]}


def of_web(oci: OciWeb) -> tuple[str, list[str]]:
    origin = oci.web.origin
    registry = OciRegistry(OciSettings(origin, ("sdxl",)), http_to(oci.web, OciAuth(origin, None)))
    found = evidence_of(registry, SDXL)
    return found.signer, [str(each) for each in evaluate(RULE, found)]


def _answering(oci: OciWeb, pin: str, answer: Reply) -> None:
    def fault(request: Request) -> Reply | None:
        return answer if request.path == f"/v2/sdxl/referrers/{pin}" else None

    oci.web.faults.append(fault)


def test_a_signature_is_found_by_the_referrers_of_the_manifest(oci: OciWeb) -> None:
    pin = oci.push("v1", {"a": b"1"})
    _answering(oci, pin, as_json(referrers(oci, pin, _signature(oci, pin))))
    assert of_web(oci) == (*RULE.signers, [])


@pytest.mark.parametrize("status", [400, 404, 405])
def test_without_that_interface_it_is_found_by_the_tag_of_the_referrers(oci: OciWeb, status: int) -> None:
    pin = oci.push("v1", {"a": b"1"})
    oci.put(pin.replace(":", "-"), referrers(oci, pin, _signature(oci, pin)))
    _answering(oci, pin, as_json({}, status))
    assert of_web(oci) == (*RULE.signers, [])


def test_a_referrer_of_another_kind_is_not_read(oci: OciWeb) -> None:
    pin = oci.push("v1", {"a": b"1"})
    index = referrers(oci, pin, _signature(oci, pin), "application/spdx+json")
    _answering(oci, pin, as_json(index))
    assert of_web(oci) == ("", ["model.sig: is missing: the version is not signed"])
    assert not [each for each in oci.web.seen if index["manifests"][0]["digest"] in each.path]


def test_what_a_registry_gives_in_place_of_the_signature_is_refused(oci: OciWeb) -> None:
    pin = oci.push("v1", {"a": b"1"})
    payload = payload_of(pin)
    oci.put(f"{pin.replace(':', '-')}.sig", {"layers": [layer_of(payload, signed(payload))]})
    signer, (said,) = of_web(oci)
    assert (signer, said[:11], "404" in said) == ("", "signature: ", True)
    oci.blobs[digest(payload)] = payload + b" "
    assert of_web(oci)[1][0].startswith(f"signature: expected the bytes of {digest(payload)}, got sha256 ")
    oci.put(f"{pin.replace(':', '-')}.sig", {"layers": [{}] * 65})
    assert "expected at most 64 entries, got 65" in of_web(oci)[1][0]
    oci.put(f"{pin.replace(':', '-')}.sig", {"layers": "none"})
    assert "expected a list" in of_web(oci)[1][0]


def test_signatures_by_many_other_keys_are_not_read_without_end(oci: OciWeb) -> None:
    pin = oci.push("v1", {"a": b"1"})
    payload = payload_of(pin)
    oci.blobs[digest(payload)] = payload
    many = {"layers": [layer_of(payload, signed(payload, BOB))] * 64}
    oci.put(f"{pin.replace(':', '-')}.sig", many)
    _answering(oci, pin, as_json(referrers(oci, pin, many)))
    assert of_web(oci)[1][0] == "signature: more than 63 are there by other keys: no more are read"
    assert len([each for each in oci.web.seen if "/blobs/" in each.path]) == 64


@pytest.mark.parametrize("kind", ["application/vnd.dev.sigstore.bundle.v0.3+json", "application/vnd.oci.empty.v1+json"])
def test_a_bundle_of_cosign_3_is_found_whatever_the_index_calls_it(oci: OciWeb, kind: str) -> None:
    pin = oci.push("v1", {"a": b"1"})
    bundles = [bundle_of(pin, predicateType="https://slsa.dev/provenance/v1"), bundle_of(pin)]
    oci.blobs |= {digest(bundle): bundle for bundle in bundles}
    layer = {"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"}
    layers = [{**layer, "digest": digest(bundle), "size": len(bundle)} for bundle in bundles]
    oci.put(pin.replace(":", "-"), referrers(oci, pin, {"layers": layers}, kind))
    assert of_web(oci) == (*RULE.signers, [])


def test_without_public_keys_nothing_that_is_attached_is_read(oci: OciWeb) -> None:
    pin = oci.push("v1", {"a": b"1"})
    oci.put(f"{pin.replace(':', '-')}.sig", _signature(oci, pin))
    rule = TrustRule(("*",), Mode.ENFORCE, authorities=(SigningAuthority({}, ("ann@models.example",)),))
    origin = oci.web.origin
    registry = OciRegistry(OciSettings(origin, ("sdxl",)), http_to(oci.web, OciAuth(origin, None)))
    found = evidence_of(registry, SDXL, rule=rule)
    assert (found.signer, found.unsigned) == ("", (("model.sig", "is missing: the version is not signed"),))
    assert not [each for each in oci.web.seen if each.path.endswith(".sig")]
