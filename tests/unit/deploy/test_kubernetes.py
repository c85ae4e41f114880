"""The Kubernetes manifest: strictly valid, its configuration loads, and its figures fit the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from syncd.api.routes import ROUTES
from syncd.config import ApiSettings, Config, DirectoryRegistrySettings, load, warnings

MANIFEST = Path(__file__).parents[3] / "deploy" / "kubernetes" / "syncd.yaml"
DOCUMENTS: list[dict[str, Any]] = [document for document in yaml.safe_load_all(MANIFEST.read_text()) if document]
MIB = 1 << 20
INSTALL: dict[str, Any] = yaml.safe_load(MANIFEST.with_name("install.yaml").read_text())
UNITS = {"Mi": MIB, "Gi": 1 << 30}


def of_kind(kind: str) -> dict[str, Any]:
    (found,) = [document for document in DOCUMENTS if document["kind"] == kind]
    return found


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = of_kind("Deployment")["spec"]["template"]["spec"]
    return spec


def containers() -> list[dict[str, Any]]:
    return [*pod()["initContainers"], *pod()["containers"]]


def size(text: str) -> int:
    return int(text[:-2]) * UNITS[text[-2:]]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "config.toml"
    path.write_text(of_kind("ConfigMap")["data"]["config.toml"])
    (variable,) = containers()[0]["env"]
    return load(path, {variable["name"]: "x"})


@pytest.mark.parametrize("document", [*DOCUMENTS, INSTALL], ids=lambda document: document["kind"])
def test_each_document_is_strictly_valid(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_a_mistake_in_a_document_would_be_noticed() -> None:
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(
            of_kind("Deployment") | {"sepc": {}}, kubernetes_validate.latest_version(), strict=True
        )


def test_its_configuration_loads_without_a_warning_but_for_models_to_come(config: Config) -> None:
    assert config.models() == ("sdxl",)
    assert warnings(config) == ()


def test_one_process_at_a_time_works_on_the_record() -> None:
    spec = of_kind("Deployment")["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}
    assert of_kind("PersistentVolumeClaim")["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_it_may_take_as_long_to_stop_as_draining_and_leaving(config: Config) -> None:
    assert pod()["terminationGracePeriodSeconds"] == config.policy.drain_s + 15


def test_memory_holds_the_buffers_the_process_and_a_probe(config: Config) -> None:
    for container in containers():
        limit = size(container["resources"]["limits"]["memory"])
        assert limit >= 1.25 * (config.transfer.buffer_bytes + 2 * 120 * MIB)
        assert size(container["resources"]["requests"]["memory"]) <= limit


def test_every_container_is_confined() -> None:
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert pod()["automountServiceAccountToken"] is False
    for container in containers():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_what_is_mounted_is_there_and_covers_the_paths_of_the_configuration(config: Config) -> None:
    volumes = {volume["name"] for volume in pod()["volumes"]}
    for container in containers():
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        assert set(mounts.values()) <= volumes
        registry = config.registries["models"]
        assert isinstance(registry, DirectoryRegistrySettings)
        assert str(registry.path) in mounts
        assert str(Path(str(config.state.connect_url.database)).parent) in mounts


def test_no_secret_stands_in_the_manifest() -> None:
    assert "Secret" not in {document["kind"] for document in DOCUMENTS}
    for container in containers():
        assert all("value" not in variable for variable in container["env"])


def test_the_record_is_brought_up_to_date_before_the_daemon_runs() -> None:
    upgrade, daemon = containers()
    assert upgrade["command"][:3] == ["syncd", "db", "upgrade"]
    assert daemon["command"][:2] == ["syncd", "run"]


def test_only_the_install_job_creates_a_record_as_the_daemon_will_have_it() -> None:
    (create,) = INSTALL["spec"]["template"]["spec"]["containers"]
    upgrade, _ = containers()
    assert create["command"] == ["syncd", "db", "create", *upgrade["command"][3:]]
    assert [create[key] for key in ("image", "env", "volumeMounts", "securityContext")] == [
        upgrade[key] for key in ("image", "env", "volumeMounts", "securityContext")
    ]
    its, pods = INSTALL["spec"]["template"]["spec"], pod()
    assert [its[key] for key in ("volumes", "securityContext")] == [pods[key] for key in ("volumes", "securityContext")]
    assert "create" not in [word for container in containers() for word in container["command"]]


def test_probes_and_the_service_ask_the_api_where_it_listens(config: Config) -> None:
    (daemon,) = pod()["containers"]
    (port,) = daemon["ports"]
    assert config.api.listen == f"0.0.0.0:{port['containerPort']}"
    paths = {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    served = {route.path for route in ROUTES}
    for probe, path in paths.items():
        assert daemon[probe]["httpGet"] == {"path": path, "port": port["name"]}
        assert path in served
    service = of_kind("Service")["spec"]
    assert service["selector"].items() <= of_kind("Deployment")["spec"]["template"]["metadata"]["labels"].items()
    assert [each["targetPort"] for each in service["ports"]] == [port["name"]]


def test_only_the_ingress_and_named_pods_reach_the_api(config: Config) -> None:
    policy = of_kind("NetworkPolicy")["spec"]
    labels = of_kind("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert policy["policyTypes"] == ["Ingress"]
    (rule,) = policy["ingress"]
    assert all(peer.get("podSelector", {}).get("matchLabels") for peer in rule["from"])
    (daemon,) = pod()["containers"]
    assert [each["port"] for each in rule["ports"]] == [port["name"] for port in daemon["ports"]]
    assert config.api.trusted_proxies != ApiSettings().trusted_proxies
