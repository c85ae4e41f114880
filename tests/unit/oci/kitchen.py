"""Fixtures of a build: a base in a registry, files to lay over it, a journal in memory, and a push route."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Entry, Manifest
from syncd.errors import Unavailable
from syncd.http.auth import BasicAuth
from syncd.http.client import HttpClient, HttpSettings
from syncd.oci.build import BuildSettings, BuiltImage, ImageBuilder, ImageRecipe
from syncd.oci.errors import explain
from syncd.oci.images import base_of
from syncd.oci.layers import Source
from syncd.oci.references import parse_image
from syncd.oci.repository import Repository
from syncd.registry.oci.auth import OciAuth
from syncd.secret import Secret
from syncd.values.source import Stream

from tests.emulators.distribution import MANIFEST, PASSWORD, USER, Distribution, digest
from tests.support.sources import content, manifest_of

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
REPOSITORY = "team/sdxl"
BASE = "bases/server"
SMALL = BuildSettings(chunk_bytes=1 << 19, layers_in_flight=1, alone_bytes=1 << 20)
CREATED = "2026-11-01T00:00:00Z"


class Hasty(threading.Event):
    """A stop without waits."""

    def wait(self, timeout: float | None = None) -> bool:
        del timeout
        return self.is_set()


@dataclass
class Notebook:
    """`oci.push.UploadJournal` in memory."""

    uploads: dict[Digest, str] = field(default_factory=dict)
    digests: dict[Digest, Digest] = field(default_factory=dict)

    def find(self, recipe: Digest) -> str | None:
        return self.uploads.get(recipe)

    def opened(self, recipe: Digest, location: str) -> None:
        self.uploads[recipe] = location

    def closed(self, recipe: Digest) -> None:
        self.uploads.pop(recipe, None)

    def known(self, recipe: Digest) -> Digest | None:
        return self.digests.get(recipe)

    def proven(self, recipe: Digest, digest: Digest) -> None:
        self.digests[recipe] = digest


class Files:
    """A source whose files are in memory. `breaks` is how often one breaks off, `opened` has each offset."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = dict(files)
        self.breaks: dict[str, int] = {}
        self.opened: list[tuple[str, int]] = []

    def __call__(self, entry: Entry, offset_bytes: int) -> Stream:
        self.opened.append((entry.path, offset_bytes))
        return _Reading(self, entry.path, self.files[entry.path][offset_bytes:])


class _Reading:
    def __init__(self, files: Files, path: str, data: bytes) -> None:
        self._files, self._path = files, path
        self._stream = io.BytesIO(data)
        self._read = 0

    def readinto(self, buffer: memoryview) -> int:
        if self._read and self._files.breaks.get(self._path, 0):
            self._files.breaks[self._path] -= 1
            raise Unavailable(f"{self._path} broke off")
        self._read += 1
        return self._stream.readinto(buffer[: 1 << 20])

    def __enter__(self) -> _Reading:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


def model(version: str = "v1", shards: int = 1, **changed: bytes) -> tuple[Manifest, Files]:
    """A small model: some shards of 1.1 MB, each with its own layer, and files that share one."""
    files = {f"model-{n}.safetensors": _shard(n) for n in range(1, shards + 1)}
    files |= {"config.json": b'{"layers": 2}\n', "tokenizer/vocab.txt": content("vocab", 70_000), "empty": b""}
    files |= {name.replace("_", "-", 1) + ".safetensors": data for name, data in changed.items()}
    return manifest_of(files, version=version), Files(files)


@cache
def _shard(number: int) -> bytes:
    return content(f"shard-{number}", 9 << 17)


def tar(files: Mapping[str, bytes]) -> bytes:
    """As another tool writes it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def push_base(registry: Distribution, name: str = BASE, tag: str = "1.0", **changed: Any) -> str:
    """An image of a tiny root, as a builder pushes it. Returns the digest of its manifest."""
    root = tar({"bin/serve": b"#!/bin/sh\necho served\n", "etc/os-release": b"ID=tiny\n"})
    layer = gzip.compress(root, mtime=0)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": CREATED,
            "config": {"Env": ["PATH=/bin", "SYNCD_MODEL=old"], "Cmd": ["/bin/serve"], "Labels": {"kept": "yes"}},
            "rootfs": {"type": "layers", "diff_ids": [digest(root)]},
            "history": [{"created": CREATED, "created_by": "a builder"}],
        }
        | changed
    ).encode()
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": digest(config), "size": len(config)},
        "layers": [{"mediaType": LAYER, "digest": digest(layer), "size": len(layer)}],
    }
    registry.push_blobs(name, [config, layer])
    return push_document(registry, name, tag, document)


def push_document(
    registry: Distribution, name: str, reference: str, document: Mapping[str, Any], kind: str = MANIFEST
) -> str:
    """A manifest or an index under a tag, or with '' under its digest alone."""
    body = json.dumps(document).encode()
    with registry.client(name) as client:
        answer = client.put(
            f"/v2/{name}/manifests/{reference or digest(body)}", content=body, headers={"Content-Type": kind}
        )
    assert answer.status_code == 201, answer.text
    return digest(body)


def repository(
    origin: str,
    name: str = REPOSITORY,
    *,
    login: bool = False,
    writes: bool = True,
    clock: Callable[[], float] = time.monotonic,
) -> Repository:
    """A push route without waits."""
    access = OciAuth(origin, BasicAuth(USER, Secret(PASSWORD)) if login else None, clock=clock)
    http = HttpClient(HttpSettings(origin, 10), access, explain, wait=Hasty().wait)
    return Repository(origin, name, http, writes=writes, wait=Hasty().wait)


@dataclass
class Kitchen:
    """Builds at one address."""

    origin: str
    login: bool = False
    notes: Notebook = field(default_factory=Notebook)
    settings: BuildSettings = field(default_factory=lambda: SMALL)
    base: str = f"{BASE}:1.0"
    base_origin: str = ""
    clock: Callable[[], float] = time.monotonic

    def bake(self, made: tuple[Manifest, Source], directory: str = "/models/sdxl", **variables: str) -> BuiltImage:
        return self.bake_until(made, Hasty(), directory, **variables)

    def bake_until(
        self,
        made: tuple[Manifest, Source],
        stop: threading.Event,
        directory: str = "/models/sdxl",
        **variables: str,
    ) -> BuiltImage:
        manifest, source = made
        origin = self.base_origin or self.origin
        where = parse_image(f"{origin.removeprefix('http://')}/{self.base}")
        base = base_of(repository(origin, where.repository, login=self.login, writes=False), where)
        sent = variables or {"SYNCD_MODEL": str(manifest.model)}
        builder = ImageBuilder(self.repository, self.notes, self.settings, stop)
        return builder.bake(manifest, source, base, ImageRecipe(directory, sent, {"syncd.source": "models"}))

    @property
    def repository(self) -> Repository:
        return repository(self.origin, login=self.login, clock=self.clock)


def sha256(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest())
