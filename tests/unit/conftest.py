"""The local cloud, a bucket in it, and faults, for whoever asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from syncd.localcloud.faults import Action, FaultRule
from syncd.localcloud.server import LocalCloud

from tests.support.clouds import REGION, RawBucket, cloud_at


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with cloud_at(tmp_path_factory.mktemp("cloud"), REGION, "cn-shanghai") as cloud:
        yield cloud


@pytest.fixture
def bucket(cloud: LocalCloud) -> Iterator[RawBucket]:
    yield RawBucket(cloud.endpoint(REGION))
    cloud.faults.clear()


@pytest.fixture
def fault(cloud: LocalCloud) -> Callable[..., None]:
    def add(operation: str, action: Action, **more: Any) -> None:
        cloud.faults.add(FaultRule("oss", action, operation, **more))

    return add
