"""One MLflow for a session, since it takes seconds to start; the others, and a cloud, for a module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.acceptance.stage import Cloud, cloud_up
from tests.emulators.distribution import distribution
from tests.emulators.modelscope import ModelScopeWeb
from tests.emulators.pai import PaiWeb
from tests.servers.mlflow import Mlflow, mlflow_server
from tests.servers.olah import olah_server
from tests.servers.programs import is_there
from tests.servers.relay import Relay, relay
from tests.servers.sources import (
    DirectorySource,
    HubSource,
    IndexSource,
    MlflowSource,
    ModelScopeSource,
    OciSource,
    PaiSource,
    PrefixSource,
    Source,
)
from tests.unit.registry.webs import IndexWeb


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mlflow]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as running:
        yield running


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with cloud_up(tmp_path_factory.mktemp("cloud")) as running:
        yield running


@pytest.fixture(scope="module", name="relay")
def relay_of_hooks() -> Iterator[Relay]:
    with relay() as running:
        yield running


@pytest.fixture(scope="module")
def sources(
    cloud: Cloud, relay: Relay, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Source]]:
    """Every kind of registry whose program is on this machine, with nothing in it."""
    root = tmp_path_factory.mktemp("sources")
    with ExitStack() as stack:
        index, modelscope, pai = IndexWeb(), ModelScopeWeb(), PaiWeb()
        for made in (index, modelscope, pai):
            stack.enter_context(made.web)
        bucket, workspace = PrefixSource(cloud), PaiSource(pai, cloud)
        stack.callback(bucket.close)
        stack.callback(workspace.close)
        found: list[Source] = [DirectorySource(root / "models"), IndexSource(index), bucket]
        found += [ModelScopeSource(modelscope), workspace]
        if is_there("olah-cli") and is_there("git"):
            found.append(HubSource(stack.enter_context(olah_server(root))))
        if is_there("docker-registry"):
            notifications = OciSource.notifications(relay.url(OciSource.name))
            images = stack.enter_context(distribution(root, "token", notifications))
            found.append(OciSource(images, root / "out"))
        if is_there("mlflow"):
            model = request.module.__name__.rpartition(".")[2].replace("_", "-")
            found.append(MlflowSource(request.getfixturevalue("mlflow"), model))
        yield {source.name: source for source in found}
