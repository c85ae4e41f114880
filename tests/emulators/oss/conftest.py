"""Clients of the vendor's first SDK, with both signatures."""

from collections.abc import Callable, Iterator
from typing import Any

import oss2
import pytest
from syncd.localcloud.server import LocalCloud

from tests.emulators.clouds import BUCKET, REGION
from tests.support.clouds import oss2_session

Connect = Callable[..., Any]


@pytest.fixture
def connect(cloud: LocalCloud) -> Iterator[Connect]:
    """Make a `Bucket` with valid defaults. Connections are closed after the test."""
    sessions: list[oss2.Session] = []

    def make(
        name: str = BUCKET,
        *,
        region: str = REGION,
        version: str = "v1",
        key_id: str = cloud.access_key_id,
        secret: str = cloud.access_key_secret,
        token: str = "",
        **options: Any,
    ) -> Any:
        if token:
            auth = oss2.StsAuth(key_id, secret, token, auth_version=version)
        else:
            auth = oss2.make_auth(key_id, secret, auth_version=version)
        sessions.append(oss2_session())
        options = {"connect_timeout": 20, "endpoint": cloud.endpoint(region), "region": region, **options}
        return oss2.Bucket(auth, bucket_name=name, session=sessions[-1], **options)

    yield make
    for session in sessions:
        session.session.close()


@pytest.fixture(params=["v1", "v4"])
def bucket(connect: Connect, request: pytest.FixtureRequest) -> Any:
    """A bucket that exists, seen through a client of either signature."""
    made = connect(version=request.param)
    made.create_bucket()
    return made


@pytest.fixture
def one_bucket(connect: Connect) -> Any:
    """The same, once, where the signature makes no difference."""
    made = connect(version="v4")
    made.create_bucket()
    return made
