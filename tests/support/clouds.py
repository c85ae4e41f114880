"""The local cloud for tests: one per module, a new bucket per test, and an independent client to verify with."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import oss2
import requests
from syncd.localcloud.server import LocalCloud
from syncd.secret import Secret
from syncd.store.oss.store import Credentials, OssSettings, OssStore

REGION = "cn-hangzhou"
KEY_ID, KEY_SECRET = "local-access-key", "local-access-secret"


def oss2_session() -> Any:
    """A session for plain oss2, which reads nothing of some answers and so leaves their connections open and lost."""
    session = oss2.Session()
    session.session.hooks["response"].append(_read_what_oss2_does_not)
    return session


def _read_what_oss2_does_not(answer: requests.Response, **_: Any) -> None:
    if answer.request.method != "GET" or not answer.ok:
        assert answer.content is not None


@contextmanager
def cloud_at(root: Path, *regions: str) -> Iterator[LocalCloud]:
    with LocalCloud(root, regions or (REGION,)) as cloud:
        yield cloud


class RawBucket:
    """A bucket seen through plain oss2 with the older signature: what a reader sees."""

    def __init__(self, endpoint: str, name: str = "", region: str = REGION) -> None:
        self.endpoint = endpoint
        self.region = region
        self.name = name or f"test-{uuid.uuid4().hex[:20]}"
        auth = oss2.Auth(KEY_ID, KEY_SECRET)
        self.client: Any = oss2.Bucket(auth, endpoint, self.name, enable_crc=False, session=oss2_session())
        if not name:
            self.client.create_bucket()

    def settings(self, **changes: Any) -> OssSettings:
        own: dict[str, Any] = {
            "endpoint": self.endpoint,
            "bucket": self.name,
            "region": self.region,
            "credentials": lambda: Credentials(KEY_ID, Secret(KEY_SECRET)),
            "read_timeout_s": 10.0,
        }
        return OssSettings(**(own | changes))

    def store(self, **changes: Any) -> OssStore:
        return OssStore(self.settings(**changes))

    def read(self, key: str) -> bytes | None:
        try:
            found: bytes = self.client.get_object(key).read()
        except oss2.exceptions.NoSuchKey:
            return None
        return found

    def write(self, key: str, data: bytes) -> None:
        self.client.put_object(key, data)

    def all_keys(self) -> set[str]:
        return {found.key for found in oss2.ObjectIterator(self.client, max_keys=1000)}

    def uploads(self) -> set[str]:
        return {found.upload_id for found in oss2.MultipartUploadIterator(self.client)}
