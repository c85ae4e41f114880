"""A bucket of the local cloud keeps the promise of a store, with a prefix and without."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from syncd.artifact.parts import Part
from syncd.localcloud.server import LocalCloud
from syncd.store.base import Store, Upload
from syncd.store.oss.store import OssStore

from tests.conformance.copies import CopyConformance
from tests.conformance.puts import StorePutsConformance
from tests.conformance.store import StoreConformance
from tests.support.clouds import REGION, RawBucket, cloud_at


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with cloud_at(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


@pytest.mark.parametrize("prefix", ["", "team a/ü/"])
class TestOssStore(StoreConformance, StorePutsConformance, CopyConformance):
    many = 23

    @pytest.fixture(autouse=True)
    def _short_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("syncd.store.oss.store.PAGE", 5)
        monkeypatch.setattr("syncd.store.oss.bucket.PAGE", 5)

    @pytest.fixture(autouse=True)
    def bucket(self, cloud: LocalCloud, prefix: str) -> RawBucket:
        self._prefix = prefix
        self._bucket = RawBucket(cloud.endpoint(REGION))
        return self._bucket

    @pytest.fixture
    def store(self, bucket: RawBucket) -> OssStore:
        return bucket.store(prefix=self._prefix)

    def raw_read(self, store: Store, key: str) -> bytes | None:
        return self._bucket.read(self._prefix + key)

    def raw_write(self, store: Store, key: str, data: bytes) -> None:
        self._bucket.write(self._prefix + key, data)

    def raw_keys(self, store: Store) -> set[str]:
        return {key.removeprefix(self._prefix) for key in self._bucket.all_keys()}

    def damage_part(self, store: Store, upload: Upload, part: Part) -> None:
        key = next(pending.key for pending in store.pending("") if pending.token == upload.token)
        self._bucket.client.upload_part(self._prefix + key, upload.token, part.number, b"!" * part.size_bytes)

    def again(self, store: Store) -> Store:
        return self._bucket.store(prefix=self._prefix)
