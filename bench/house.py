"""A real image repository for `bench.bounds`: Debian's docker-registry, with a base image in it."""

import hashlib
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from syncd.artifact.digest import Digest
from syncd.oci.repository import OCI_MANIFEST, Document, Repository
from syncd.registry.http import Http, HttpSettings

BASE = "base"
_LISTENS_S = 20.0


@contextmanager
def house(root: Path) -> Iterator[str]:
    """One that keeps its blobs below `root`; gives its origin."""
    storage = {"filesystem": {"rootdirectory": str(root / "blobs")}}
    document = {"version": 0.1, "log": {"level": "info"}, "storage": storage, "http": {"addr": "127.0.0.1:0"}}
    (root / "house.json").write_text(json.dumps(document))
    with (root / "house.log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(root / "house.json")], stdout=log, stderr=log)
    try:
        origin = f"http://{_address(root / 'house.log')}"
        _push_base(origin)
        yield origin
    finally:
        process.kill()
        process.wait()


def _address(log: Path) -> str:
    """Where it listens: it chose the port itself."""
    deadline_s = time.monotonic() + _LISTENS_S
    while time.monotonic() < deadline_s:
        _, found, rest = log.read_text().partition("listening on ")
        if found:
            return rest.partition('"')[0].partition(",")[0]
        time.sleep(0.01)
    raise SystemExit(f"docker-registry does not listen: {log.read_text()}")


def _push_base(origin: str) -> None:
    """An image of nothing."""
    repository = Repository(origin, BASE, Http(HttpSettings(origin)), writes=True)
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}).encode()
    digest = _digest(config)
    repository.push_whole(digest, len(config), lambda: (config,))
    told = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": f"sha256:{digest}", "size": len(config)}
    body = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": told, "layers": []}).encode()
    repository.push_manifest("1", Document(OCI_MANIFEST, body, _digest(body)))


def _digest(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest())
