"""What is fuzzed: each parser of bytes from outside, as syncd calls it. A refusal is a `SyncdError`, nothing else."""

from __future__ import annotations

import atexit
import hashlib
import io
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, partial
from typing import Final

from syncd.api.webhooks.payloads import hints
from syncd.api.webhooks.signatures import SignedRequest
from syncd.artifact.manifest import Manifest
from syncd.artifact.names import ModelName, VersionName
from syncd.errors import SyncdError
from syncd.http.decompress import DecompressedStream
from syncd.http.responses import parse_json
from syncd.registry.checksum_files import parse_manifest, parse_sums
from syncd.registry.oci.registry import OciRegistry
from syncd.registry.oci.tarball import members
from syncd.registry.settings import IndexSettings, OciSettings
from syncd.registry.sources.index import IndexRegistry

from tests.emulators.web import Reply, Web
from tests.unit.formats.reading import both
from tests.unit.formats.test_hostile import NAMES
from tests.unit.registry.webs import http_to

SDXL: Final = ModelName("sdxl")
UNPACKED_BYTES_MAX: Final = 1 << 20
HEADERS: Final = dict.fromkeys(
    ("x-mlflow-delivery-id", "webhook-id", "x-github-event", "x-github-delivery", "x-wbhook-id"), "1"
)
KINDS: Final = ("mlflow", "huggingface", "oci", "harbor", "acr", "dockerhub", "github", "standard", "cloudevents")


class _Bytes:
    """A `values.source.Stream` of bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readinto(self, buffer: memoryview) -> int:
        return self._data.readinto(buffer)

    def __enter__(self) -> _Bytes:
        return self

    def __exit__(self, *exc: object) -> None:
        self._data.close()


class _Server:
    """A registry that answers every request with the same bytes."""

    def __init__(self, kind: str) -> None:
        self.body = b""
        self._kind = kind
        self.web = Web(lambda _: Reply(200, {"Content-Type": self._kind, "ETag": self._etag()}, self.body))
        self.web.__enter__()
        atexit.register(self.web.stop)
        self.http = http_to(self.web)

    def serve(self, body: bytes) -> None:
        self.body = body
        self.web.seen.clear()

    def _etag(self) -> str:
        return f'"{hashlib.md5(self.body).hexdigest()}"'


@cache
def _server(kind: str) -> _Server:
    return _Server(kind)


def _index(data: bytes) -> None:
    server = _server("application/json")
    server.serve(data)
    registry = IndexRegistry(IndexSettings(f"{server.web.origin}/index.json"), server.http)
    registry.discover()
    registry.listing(SDXL, registry.resolve(SDXL, "latest"))


def _oci_manifest(data: bytes) -> None:
    server = _server("application/vnd.oci.image.manifest.v1+json")
    server.serve(data)
    registry = OciRegistry(OciSettings(server.web.origin, ("sdxl",)), server.http)
    registry.listing(SDXL, registry.resolve(SDXL, "v1"))


def _tar(data: bytes) -> None:
    for _ in members(_Bytes(data), "a layer"):
        pass


def _packed(packing: str, data: bytes) -> None:
    for _ in members(DecompressedStream(_Bytes(data), packing, UNPACKED_BYTES_MAX, "a layer"), "a layer"):
        pass


def _webhook(kind: str, data: bytes) -> None:
    hints(kind, SignedRequest(HEADERS, {}, data))


def _format(name: str, data: bytes) -> None:
    both(name, data)


TARGETS: Final[Mapping[str, Callable[[bytes], object]]] = {
    "json": lambda data: parse_json(data, "the answer"),
    "index": _index,
    "oci-manifest": _oci_manifest,
    "manifest-json": lambda data: parse_manifest(data, SDXL, VersionName("v1")),
    "seal": Manifest.parse,
    "sums": parse_sums,
    "tar": _tar,
    "tar-gzip": partial(_packed, "gzip"),
    "tar-zstd": partial(_packed, "zstd"),
    **{f"webhook-{kind}": partial(_webhook, kind) for kind in KINDS},
    **{f"format-{name.replace('/', '~')}": partial(_format, name) for name in NAMES},
}


def run(target: str, data: bytes) -> None:
    """Run one target. Whatever but a refusal goes through."""
    with suppress(SyncdError):
        TARGETS[target](data)
