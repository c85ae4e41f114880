"""Where fuzzing begins: the corpus that is kept here, and what real writers write."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import FilePath

from tests.emulators.tars import layer_of, packed, tar_of
from tests.unit.formats.test_hostile import BOMBS, whole
from tests.unit.formats.written import KNOWN, WRITTEN

CORPUS: Final = Path(__file__).parent / "corpus"
SEED_BYTES_MAX: Final = 1 << 16
TITLE: Final = "org.opencontainers.image.title"
_SHA: Final = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_FILES: Final = [{"path": "a/b.bin", "size": 4, "sha256": _SHA}, {"path": "c.txt", "size": 0, "url": "/c"}]
_TAR: Final = tar_of({"a/b.bin": b"1234", "c.txt": b"", "a/" + "long" * 40: b"1"})


def _made() -> Mapping[str, Sequence[object]]:
    """Documents as each parser reads them, by the target's name; bytes, or what becomes JSON."""
    version = {"version": "v1", "ready": True, "aliases": ["prod"], "files": _FILES}
    pushed = {"repository": {"repo_full_name": "m"}, "resources": [{"tag": "v1"}]}
    event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "harbor.artifact.pushed", "subject": "m",
             "data": {"model": "sdxl", "version": "v1", "resources": [{"tag": "v1"}]}}  # fmt: skip
    entries = (Entry(FilePath("a"), 4, Digest(_SHA)),)
    return {
        "json": [{"a": [1, -2.5e3, None, True, '\u00e9\\"\U0001f600', {"b": {}}]}],
        "index": [{"schema": "syncd/v1", "models": [{"name": "sdxl", "versions": [version]}]}],
        "oci-manifest": [{
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": f"sha256:{_SHA}", "size": 2},
            "layers": [layer_of(_TAR), layer_of(b"1", "application/octet-stream", {TITLE: "a"})],
            "annotations": {"org.opencontainers.image.created": "2026-01-01T00:00:00+08:00"},
        }],
        "manifest-json": [{"files": _FILES}, Manifest.of("sdxl", "v1", entries).canonical],
        "seal": [Manifest.of("sdxl", "v1", entries).canonical],
        "sums": [f"{_SHA}  a/b\n{_SHA} *c\n\\{_SHA}  d\\\\e\n".encode(), f"{_SHA}  a\r\n".encode("utf-16")],
        "tar": [_TAR],
        "tar-gzip": [packed(_TAR), packed(_TAR) * 2],
        "tar-zstd": [packed(_TAR, "zstd")],
        "webhook-mlflow": [{"entity": "model_version", "action": "created", "data": {"name": "m", "version": "1"}}],
        "webhook-huggingface": [{
            "event": {"action": "update", "scope": "repo.content"}, "webhook": {"id": "1"},
            "repo": {"type": "model", "name": "a/b", "headSha": "0" * 40},
            "updatedRefs": [{"ref": "refs/heads/main", "newSha": "0" * 40}],
        }],
        "webhook-oci": [{"events": [{"id": "1", "action": "push", "target": {"repository": "m", "tag": "v1"}}]}],
        "webhook-harbor": [
            event,
            {"type": "PUSH_ARTIFACT", "event_data": pushed},
        ],
        "webhook-acr": [event, {"repository": {"repo_full_name": "m"}, "push_data": {"tag": "v1"}}],
        "webhook-dockerhub": [{"repository": {"repo_name": "m"}, "push_data": {"tag": "v1"}}],
        "webhook-github": [{"action": "published", "repository": {"full_name": "a/b"}}],
        "webhook-standard": [{"type": "t", "data": {"model": "sdxl", "version": "v1"}}],
        "webhook-cloudevents": [event],
    }  # fmt: skip


@cache
def seeds(target: str) -> tuple[bytes, ...]:
    """At least one seed for each target."""
    found = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in _made().get(target, ())]
    name = target.removeprefix("format-").replace("~", "/")
    if target.startswith("format-"):
        found += [whole(name)] if name in {*WRITTEN, *KNOWN} else [b"{}"]
        found += [data for bomb, data in BOMBS.items() if Path(bomb).suffix == Path(name).suffix]
    kept = CORPUS / target
    found += [each.read_bytes() for each in sorted(kept.iterdir())] if kept.is_dir() else []
    return tuple(each[:SEED_BYTES_MAX] for each in found)
