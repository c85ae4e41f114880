"""`publish --from` where the registry is a prefix of a bucket: a directory is uploaded as a version, its list last."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from syncd import retry
from syncd.artifact.digest import crc64, crc64_combine
from syncd.artifact.names import ModelName, VersionName, parse_path
from syncd.artifact.parts import Part, cut
from syncd.cli.upload_directory import LIST, digest_of, files_below, listed, reading, refuse_changed
from syncd.errors import Conflict, NotFound
from syncd.store.base import PutMode, Store, Upload

T = TypeVar("T")
_PATIENCE: Final = retry.Retry()
_OTHER: Final = "a published version never changes; choose another name"


def upload_bucket(store: Store, source: Path, model: ModelName, version: VersionName) -> None:
    """Upload `source` as that version of a registry that begins where `store` does; seen once its list is there.

    What was interrupted is gone on with: neither objects nor parts that are there are sent again, proven by their
    CRC-64. A version that is there already and has the same files is success. Needs the memory of a part.

    Raises:
        Invalid: The source is not a directory with files in it, or has links, special files or names not allowed.
        Conflict: The version, or a part of it that somebody left there, has other bytes; files lie there that are not
            among these; or the source changed.
        Refused, Unavailable: The bucket will not have it, or cannot now.
    """
    files = files_below(source)
    place = f"{model}/{version}/"
    keys = {name: f"{place}{parse_path(name)}" for name in files}
    known = _list_of(store, f"{place}{LIST}")
    if known is not None:
        if known != listed({name: digest_of(source / name) for name in files}):
            raise Conflict(f"{model}@{version} is there already", hint=_OTHER)
        return
    begun = {each.key: each.token for each in _patiently(lambda: list(store.pending(place)))}
    digests = {name: _sent(store, source / name, keys[name], begun.get(keys[name])) for name in files}
    refuse_changed(source, files)
    _refuse_others(store, place, set(keys.values()))
    text = listed(digests).encode()
    _patiently(lambda: store.put(f"{place}{LIST}", text, PutMode.CREATE))


def _refuse_others(store: Store, place: str, ours: set[str]) -> None:
    """Raises Conflict: With these beside ours the version would never be whole, for the list has only ours."""
    others = sorted(seen.key for seen in _patiently(lambda: list(store.list(place))) if seen.key not in ours)
    if others and others != [f"{place}{LIST}"]:
        hint = "another job brings this version, or brought it before: take them away, or choose another name"
        raise Conflict(f"{others[0]} lies there, which is not among the files to be published", hint=hint)


def _list_of(store: Store, key: str) -> str | None:
    def read() -> str:
        data, buffer = bytearray(), memoryview(bytearray(1 << 20))
        with store.open(key) as stream:
            while count := stream.readinto(buffer):
                data += buffer[:count]
        return data.decode(errors="replace")

    try:
        return _patiently(read)
    except NotFound:
        return None


def _sent(store: Store, path: Path, key: str, token: str | None) -> str:
    """Upload one file, or find it there. Gives the SHA-256 of what was read."""
    with reading(path):
        parts = cut(path.stat().st_size)
    if len(parts) == 1:
        with reading(path):
            data = path.read_bytes()
        _patiently(lambda: store.put(key, data, PutMode.CREATE))
        return hashlib.sha256(data).hexdigest()
    upload = _upload(store, key, parts, token)
    sha, whole = hashlib.sha256(), 0
    with reading(path):
        opened = path.open("rb")
    with opened:
        for part in parts:
            data = opened.read(part.size_bytes)
            if len(data) != part.size_bytes:
                raise Conflict(f"{path} has become shorter while it was read", hint="publish when it is written")
            crc = crc64(data)
            sha.update(data)
            whole = crc64_combine(whole, crc, part.size_bytes)
            if upload is not None and not upload.has(part, crc):
                _send(upload, part, data, crc)
    if upload is not None:
        _patiently(lambda: upload.complete(whole))
    elif _patiently(lambda: store.stat(key)).crc64 != whole:
        raise Conflict(f"{key} is there already, with other bytes", hint=_OTHER)
    return sha.hexdigest()


def _send(upload: Upload, part: Part, data: bytes, crc: int) -> None:
    _patiently(lambda: upload.send(part, data, crc))


def _upload(store: Store, key: str, parts: tuple[Part, ...], token: str | None) -> Upload | None:
    """Go on with an upload, or begin one; None where something is at the key."""
    try:
        if token is not None:
            return _patiently(lambda: store.upload(key, parts, token))
    except NotFound:  # completed or aborted meanwhile
        pass
    try:
        return _patiently(lambda: store.upload(key, parts))
    except Conflict:
        return None


def _patiently(ask: Callable[[], T]) -> T:
    return retry.call(_PATIENCE, ask)
