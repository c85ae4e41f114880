"""The Dockerfile: it copies all that the package is built from, and its user is the one of the manifests."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
LINES = [line for line in DOCKERFILE.splitlines() if line and not line.startswith("#")]


def copied() -> list[str]:
    """What is copied from the source tree, in either stage."""
    words = [line.split()[1:-1] for line in LINES if line.startswith("COPY ") and "--from" not in line]
    return [word for line in words for word in line]


def test_all_that_the_package_is_built_from_is_copied_and_is_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], *wheel["shared-data"], *wheel["sbom-files"]}
    there = {path: ROOT / path for path in copied()}
    assert all(path.exists() for path in there.values())
    for each in {*needed, project["project"]["readme"], "pyproject.toml", "requirements.lock"}:
        assert any((ROOT / each) == path or path in (ROOT / each).parents for path in there.values()), each


def test_nothing_else_is_sent_to_the_builder() -> None:
    first, *rest = (ROOT / ".dockerignore").read_text().split()
    assert first == "*"
    let_in = {line.removeprefix("!") for line in rest if line.startswith("!")}
    assert let_in == {path.partition("/")[0] for path in copied()}


def test_files_are_verified_and_the_base_is_named_by_who_builds() -> None:
    assert "ARG BASE" in LINES, "without a default"
    assert [line for line in LINES if line.startswith("FROM ")] == ["FROM ${BASE} AS build", "FROM ${BASE}"]
    installs = re.findall(r"pip install (.*)", DOCKERFILE)
    assert len(installs) == 2
    assert "--require-hashes -r requirements.lock" in installs[0]
    assert "--no-deps --no-build-isolation" in installs[1]


def test_it_runs_as_the_user_of_the_manifests_and_has_their_command() -> None:
    (user,) = re.findall(r"(?m)^USER (\d+):(\d+)$", DOCKERFILE)
    for name in ("syncd", "fleet", "worker"):
        for document in yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / f"{name}.yaml").read_text()):
            if document and document["kind"] == "Deployment":
                context = document["spec"]["template"]["spec"]["securityContext"]
                assert (str(context["runAsUser"]), str(context["runAsGroup"])) == user
    assert 'ENTRYPOINT ["syncd"]' in LINES
    assert any(line.startswith("ENV PATH=/opt/syncd/bin:") for line in LINES)
