"""A local region on loopback for each test."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alibabacloud_fc20230330.client import Client
from syncd.localcloud.account import Account, AccountKey
from syncd.localcloud.counters import Counters
from syncd.localcloud.faults import FaultScript
from syncd.localcloud.fc import FcRegion, Settings
from syncd.localcloud.httpd import HttpServer

from tests.emulators.fc.calls import ACCOUNT, KEY, REGION, SECRET, Buckets, Cloud


@pytest.fixture
def make_cloud(tmp_path: Path) -> Iterator[Callable[..., Cloud]]:
    made: list[Cloud] = []

    def make(settings: Settings | None = None) -> Cloud:
        faults, buckets = FaultScript(), Buckets(tmp_path / "buckets")
        chances: list[float] = []
        offset = [0.0]
        region = FcRegion(
            region=REGION,
            account_id=ACCOUNT,
            root=tmp_path / "fc",
            credentials=Account(ACCOUNT, (AccountKey(KEY, SECRET), AccountKey("STS.key", "sts-secret", "sts-token"))),
            oss=buckets,
            nas_root=tmp_path / "nas",
            faults=faults,
            counters=Counters(),
            settings=settings or Settings(create_s=0, update_s=0, converge_s=0),
            clock=lambda: time.time() + offset[0],
            chance=lambda: chances.pop(0) if chances else 0.999,
        )
        region.start()
        server = HttpServer(region.handle)
        server.start()
        made.append(Cloud(region, server, faults, buckets, chances, offset))
        return made[-1]

    yield make
    for cloud in made:
        cloud.faults.release()
        cloud.region.stop()
        cloud.server.stop()


@pytest.fixture
def cloud(make_cloud: Callable[..., Cloud]) -> Cloud:
    return make_cloud()


@pytest.fixture
def client(cloud: Cloud) -> Client:
    return cloud.client()
