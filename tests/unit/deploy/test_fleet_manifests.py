"""The Kubernetes manifests of a fleet: strictly valid, one configuration, and what each process is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from syncd.api.routes import ROUTES
from syncd.config import Config, load, warnings

DIRECTORY = Path(__file__).parents[3] / "deploy" / "kubernetes"
FLEET, WORKER = (
    [document for document in yaml.safe_load_all((DIRECTORY / f"{name}.yaml").read_text()) if document]
    for name in ("fleet", "worker")
)
Document = dict[str, Any]


def of_kind(documents: list[Document], kind: str) -> Document:
    (found,) = [document for document in documents if document["kind"] == kind]
    return found


def pods() -> list[Document]:
    return [
        document["spec"]["template"]["spec"]
        for document in [*FLEET, *WORKER]
        if document["kind"] in {"Deployment", "Job"}
    ]


def container(pod: Document) -> Document:
    (found,) = pod["containers"]
    return dict(found)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "config.toml"
    path.write_text(of_kind(FLEET, "ConfigMap")["data"]["config.toml"])
    return load(path, {variable["name"]: "x" for variable in container(pods()[0])["env"]})


@pytest.mark.parametrize("document", [*FLEET, *WORKER], ids=lambda document: document["metadata"]["name"])
def test_each_document_is_strictly_valid(document: Document) -> None:
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_its_configuration_loads_without_a_warning_and_has_a_database_that_processes_share(config: Config) -> None:
    assert warnings(config) == ()
    assert config.state.connect_url.get_backend_name() == "postgresql"


def test_two_controllers_share_the_work_and_one_is_left_by_an_eviction_and_an_upgrade() -> None:
    deployment = of_kind(FLEET, "Deployment")["spec"]
    assert deployment["replicas"] == 2
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}
    budget = of_kind(FLEET, "PodDisruptionBudget")["spec"]
    assert (budget["minAvailable"], budget["selector"]) == (1, deployment["selector"])
    assert container(deployment["template"]["spec"])["command"][:4] == ["syncd", "run", "--role", "controller"]


def test_a_worker_is_of_a_region_that_is_configured(config: Config) -> None:
    deployment = of_kind(WORKER, "Deployment")
    command = container(deployment["spec"]["template"]["spec"])["command"]
    assert command[:3] == ["syncd", "worker", "--region"]
    assert command[3] in {target.region for target in config.targets.values()}
    assert deployment["metadata"]["labels"]["syncd/region"] == command[3]


def test_only_the_job_changes_the_schema_and_nothing_creates_a_record() -> None:
    commands = [container(pod)["command"] for pod in pods()]
    assert [command[1:3] for command in commands if "db" in command] == [["db", "upgrade"]]


def test_every_process_has_the_same_configuration_and_secrets_and_is_confined(config: Config) -> None:
    first = container(pods()[0])
    for pod in pods():
        each = container(pod)
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert [each[key] for key in ("image", "env", "securityContext")] == [
            first[key] for key in ("image", "env", "securityContext")
        ]
        assert {mount["name"] for mount in each["volumeMounts"]} <= {volume["name"] for volume in pod["volumes"]}
        assert pod.get("terminationGracePeriodSeconds", 45) == config.policy.drain_s + 15
    assert first["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_controllers_are_probed_and_called_where_the_api_listens_and_workers_are_not_called(config: Config) -> None:
    controller = container(of_kind(FLEET, "Deployment")["spec"]["template"]["spec"])
    (port,) = controller["ports"]
    assert config.api.listen == f"0.0.0.0:{port['containerPort']}"
    paths = {controller[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"/healthz", "/readyz"}
    assert paths <= {route.path for route in ROUTES}
    assert [each["targetPort"] for each in of_kind(FLEET, "Service")["spec"]["ports"]] == [port["name"]]
    assert of_kind(WORKER, "NetworkPolicy")["spec"].get("ingress") is None
    assert of_kind(FLEET, "NetworkPolicy")["spec"]["ingress"]
