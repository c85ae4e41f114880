"""Function Compute as emulated by the local cloud: one region for the tests of a file, and two clients."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from alibabacloud_fc20230330.client import Client
from syncd.runtime.fc.runtime import FcRuntime

from tests.support.fc_clouds import FcCloud, fc_cloud, fresh_function

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def fc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FcCloud]:
    with fc_cloud(Path(tmp_path_factory.mktemp("fc"))) as cloud:
        yield cloud


@pytest.fixture
def client(fc: FcCloud) -> Client:
    return fc.client()


@pytest.fixture
def runtime(fc: FcCloud) -> FcRuntime:
    return fc.runtime()


@pytest.fixture
def name(fc: FcCloud, client: Client) -> Iterator[str]:
    """A function of its own for a test, with nothing published."""
    name = f"own-{next(_numbers)}"
    fresh_function(fc, client, name)
    yield name
    fc.faults.clear()
