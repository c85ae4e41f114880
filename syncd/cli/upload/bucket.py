"""Upload of a directory into a registry in a bucket, for `publish --from`: the checksum list is written last."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from syncd import retry
from syncd.artifact.digest import crc64, crc64_combine
from syncd.artifact.names import ModelName, VersionName, parse_path
from syncd.artifact.parts import Part, cut
from syncd.cli.upload.source_directory import LIST, Files, Found, check_unchanged, digest_of, listed, open_file
from syncd.errors import Conflict, NotFound
from syncd.store.base import PutMode, Store, Upload

T = TypeVar("T")
_RETRY: Final = retry.Retry()
_OTHER: Final = "a published version never changes; choose another version name"


def upload_bucket(store: Store, source: Path, files: Files, model: ModelName, version: VersionName) -> None:
    """Upload `files` of `source` as that version of the registry at the root of `store`; its list makes it visible.

    An interrupted upload resumes: objects and parts that are there, proven by their CRC-64, are not sent again. A
    version that exists with the same files is success. Needs the memory of one part.

    Raises:
        Conflict: The version, or a part of it that was left there, has other bytes; the bucket has files there that
            are not among these; or the source changed.
        Refused, Unavailable: The bucket does not accept it, or cannot now.
    """
    prefix = f"{model}/{version}/"
    keys = {name: f"{prefix}{parse_path(name)}" for name in files}
    known = _list_of(store, f"{prefix}{LIST}")
    if known is not None:
        if known != listed({name: digest_of(source, name, found) for name, found in files.items()}):
            refused = f"If it was refused and was never live, delete the objects below {prefix} and publish again"
            raise Conflict(f"{model}@{version} exists with other files", hint=f"{_OTHER}. {refused}")
        return
    pending = {each.key: each.token for each in _retried(lambda: list(store.pending(prefix)))}
    digests = {
        name: _sent(store, source, name, found, keys[name], pending.get(keys[name])) for name, found in files.items()
    }
    check_unchanged(source, files)
    _check_no_others(store, prefix, set(keys.values()))
    text = listed(digests).encode()
    _retried(lambda: store.put(f"{prefix}{LIST}", text, PutMode.CREATE))


def _check_no_others(store: Store, prefix: str, ours: set[str]) -> None:
    """Raises Conflict: Other objects are there. The list names only ours, so the version would never be whole."""
    others = sorted(seen.key for seen in _retried(lambda: list(store.list(prefix))) if seen.key not in ours)
    if others and others != [f"{prefix}{LIST}"]:
        hint = "another job uploads this version, or did before: delete those objects, or choose another version name"
        raise Conflict(f"{others[0]} exists in the bucket and is not among the files to publish", hint=hint)


def _list_of(store: Store, key: str) -> str | None:
    def read() -> str:
        data, buffer = bytearray(), memoryview(bytearray(1 << 20))
        with store.open(key) as stream:
            while count := stream.readinto(buffer):
                data += buffer[:count]
        return data.decode(errors="replace")

    try:
        return _retried(read)
    except NotFound:
        return None


def _sent(store: Store, source: Path, name: str, found: Found, key: str, token: str | None) -> str:
    """Upload one file, or find it there. Returns the SHA-256 of what was read."""
    parts = cut(found.size_bytes)
    if len(parts) == 1:
        with open_file(source, name, found) as opened:
            data = opened.read()
        _retried(lambda: store.put(key, data, PutMode.CREATE))
        return hashlib.sha256(data).hexdigest()
    upload = _upload(store, key, parts, token)
    sha, whole = hashlib.sha256(), 0
    with open_file(source, name, found) as opened:
        for part in parts:
            data = opened.read(part.size_bytes)
            if len(data) != part.size_bytes:
                raise Conflict(f"--from {source / name} became shorter while it was read", hint="publish again")
            crc = crc64(data)
            sha.update(data)
            whole = crc64_combine(whole, crc, part.size_bytes)
            if upload is not None and not upload.has(part, crc):
                _send(upload, part, data, crc)
    if upload is not None:
        _retried(lambda: upload.complete(whole))
    elif _retried(lambda: store.stat(key)).crc64 != whole:
        raise Conflict(f"{key} exists with other bytes", hint=_OTHER)
    return sha.hexdigest()


def _send(upload: Upload, part: Part, data: bytes, crc: int) -> None:
    _retried(lambda: upload.send(part, data, crc))


def _upload(store: Store, key: str, parts: tuple[Part, ...], token: str | None) -> Upload | None:
    """Resume an upload, or start one; None where the key exists."""
    try:
        if token is not None:
            return _retried(lambda: store.upload(key, parts, token))
    except NotFound:  # completed or aborted meanwhile
        pass
    try:
        return _retried(lambda: store.upload(key, parts))
    except Conflict:
        return None


def _retried(ask: Callable[[], T]) -> T:
    return retry.call(_RETRY, ask)
