"""The pipelines of the pages, run: each brings a version to a daemon that works, and ends with its exit code."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any, Final

import pytest
import yaml
from syncd.client import Client

from tests.acceptance.stage import LIMIT_S, ROOT, Cloud, run, write_files
from tests.acceptance.stage import environment as ours
from tests.servers.fleet import CREDENTIALS, HOUR_S, live_everywhere, prepared
from tests.servers.mlflow import Mlflow
from tests.servers.programs import environment, program
from tests.servers.sources import DirectorySource, MlflowSource, PrefixSource
from tests.support import docs
from tests.support.tensors import sharded

PAGE: Final = "docs/how-to/publish-from-a-pipeline.md"
FILES: Final = sharded(shards=2, tensors=2, size_bytes=1000)
MODEL: Final = "sdxl"  # as in the pages
CHURN: Final = "churn"
SHELLS: Final = {
    "github": ("bash", "-e", "-c"),
    "argo": ("sh", "-c"),  # none there: the container's command
    "airflow": ("bash", "-c"),
}


@dataclass(frozen=True)
class Job:
    """What a pipeline's step is given."""

    client: Client
    token: str
    source: DirectorySource
    home: Path

    def run(self, kind: str, script: str, version: str) -> subprocess.CompletedProcess[str]:
        """Run a step with the environment that the pages give it, by the shell that runs it there."""
        shim = self.home / "bin" / "syncd"
        shim.parent.mkdir(exist_ok=True)
        shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m syncd "$@"\n')
        shim.chmod(0o755)
        env = ours(SYNCD_SERVER=self.client.server, SYNCD_TOKEN=self.token, GITHUB_REF_NAME=version)
        env |= {"PATH": f"{shim.parent}:{os.environ['PATH']}", "SYNCD_CONFIG": "/nonexistent"}
        return subprocess.run(
            [*SHELLS[kind], script], cwd=self.home, env=env, capture_output=True, text=True,
            timeout=LIMIT_S, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def job(cloud: Cloud, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """A daemon that looks once an hour, so that a version goes live because it was asked for."""
    home = tmp_path_factory.mktemp("pipelines")
    source = DirectorySource(home / "models", MODEL)
    topology = prepared(cloud, home, sqlite_template, [source], HOUR_S)
    with topology.daemon() as (_, client):
        yield Job(client, topology.token, source, home)


def block(language: str, word: str) -> str:
    """The text of the one block of the page, in that language, with this word in it."""
    (found,) = [each.text for each in docs.blocks(language) if docs.name(each.page) == PAGE and word in each.text]
    return found


def github() -> str:
    """The steps of the workflow on any runner, but for the installation."""
    steps: list[Mapping[str, Any]] = yaml.safe_load(block("yaml", "SYNCD_SERVER: https"))["jobs"]["publish"]["steps"]
    return "\n".join(step["run"] for step in steps if "pip install" not in step["run"])


def argo(version: str) -> str:
    (template,) = yaml.safe_load(block("yaml", "argoproj"))["spec"]["templates"]
    text = " ".join(template["container"]["command"])
    return text.replace("{{workflow.parameters.version}}", version)


def airflow(version: str) -> str:
    """What the operator has bash do, once Airflow has filled in its environment."""
    calls = [node for node in ast.walk(ast.parse(block("python", "BashOperator"))) if isinstance(node, ast.keyword)]
    told = {node.arg: node.value for node in calls if node.arg in {"bash_command", "env"}}
    filled = ast.literal_eval(ast.unparse(told["env"]).replace("{{ params.version }}", version))
    exports = [f"export {name}={quote(value)}" for name, value in filled.items()]
    return "\n".join([*exports, ast.literal_eval(told["bash_command"])])


@pytest.mark.parametrize("kind", SHELLS)
def test_a_pipeline_ends_with_0_when_the_version_is_live_and_otherwise_when_the_model_is_held(
    kind: str, job: Job
) -> None:
    version, files = job.source.bring(1 + list(SHELLS).index(kind), FILES)
    script = {"github": github(), "argo": argo(version), "airflow": airflow(version)}[kind]
    done = job.run(kind, script, version)
    assert done.returncode == 0, done.stderr
    live_everywhere(job.client, MODEL, version, files)
    job.client.hold(MODEL, "black images")
    held = job.run(kind, script, version)
    job.client.unhold(MODEL)
    assert (held.returncode, "black images" in held.stderr) == (99 if kind == "airflow" else 4, True)


def test_a_training_jobs_directory_goes_through_a_bucket_to_a_daemon_elsewhere(
    cloud: Cloud, sqlite_template: Path, tmp_path: Path
) -> None:
    bucket = PrefixSource(cloud)
    bucket.close()
    topology = prepared(cloud, tmp_path, sqlite_template, [bucket], HOUR_S)
    write_files(tmp_path / "out", FILES)
    own = tmp_path / "pipeline.toml"  # what a job knows: the bucket, and a key for it
    own.write_text(f"[registries.bucket]\n{bucket.table}\n{CREDENTIALS}")
    with topology.daemon() as (_, client):
        env = ours(SYNCD_SERVER=client.server, SYNCD_TOKEN=topology.token, SYNCD_CONFIG=str(own))
        words = ("publish", f"{bucket.model}@v1", "--from", str(tmp_path / "out"), "--wait", "--timeout", "2m")
        for _ in range(2):
            done = run(*words, env=env)
            assert (done.code, done.out.endswith(f"{bucket.model}@v1 is live\n")) == (0, True), done.err
        live_everywhere(client, bucket.model, "v1", FILES)
        write_files(tmp_path / "out", {"config.json": b"other"})
        assert run(*words, env=env).code == 9
        assert len(client.releases(bucket.model)) == 2


@pytest.mark.needs_mlflow
def test_a_training_job_logs_to_mlflow_and_has_its_version_released(
    mlflow: Mlflow, cloud: Cloud, sqlite_template: Path, tmp_path: Path
) -> None:
    mlflow.create(CHURN)
    topology = prepared(cloud, tmp_path, sqlite_template, [MlflowSource(mlflow, CHURN)], HOUR_S)
    files = {"MLmodel": b"flavors: {}\n", **FILES}
    write_files(tmp_path / "out", files)
    with topology.daemon() as (_, client):
        code = block("python", "create_model_version").replace("https://mlflow.example.com", mlflow.origin)
        code = code.replace("https://syncd.example.com", client.server).replace("syncd_…", topology.token)
        env = environment(PYTHONPATH=str(ROOT), MLFLOW_DISABLE_TELEMETRY="true")
        command = [program("python"), "-c", code]
        done = subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        assert done.returncode == 0, done.stderr
        live_everywhere(client, CHURN, "1", files)
