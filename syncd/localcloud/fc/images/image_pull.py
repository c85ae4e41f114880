"""Image pulls from a registry on loopback, over plain HTTP and anonymously.

Of an image are used: its digest, its command, its `SYNCD_*` variables, and the files below `SYNCD_PATH` in the
layers annotated with `syncd.files`. The rest of the root file system is this machine's.
"""

import hashlib
import http.client
import json
import re
import shutil
import tarfile
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, Protocol

from syncd.localcloud.fc.errors import not_started

_HERE: Final = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?")
_KINDS: Final = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
_PREFIX: Final = "SYNCD_"
_PATH: Final = "SYNCD_PATH"
_FILES: Final = "syncd.files"
_DOCUMENT_BYTES_MAX: Final = 4 << 20
_TIMEOUT_S: Final = 10.0


class RegistryUnavailableError(Exception):
    """The registry does not respond, or its response is not one of a registry."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """A pulled image. `directory` holds the image's `path` on this machine."""

    argv: Sequence[str]
    variables: Mapping[str, str]
    path: str
    directory: Path | None

    def link_into(self, root: Path) -> None:
        """Link the image's files below `root`, at their path in the image."""
        if self.directory is None:
            return
        place = root / self.path.strip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(self.directory, target_is_directory=True)


def is_loopback(name: str) -> bool:
    """Whether the image's registry is on loopback."""
    host, slash, _ = name.partition("/")
    return bool(slash) and _HERE.fullmatch(host) is not None


def digest_of(name: str) -> str | None:
    """The digest (`sha256:…`) of `host/name:tag`; None when the tag does not exist.

    Raises:
        RegistryUnavailableError: The registry is unavailable.
    """
    host, repository, tag = _parts(name)
    body = _get(host, f"/v2/{repository}/manifests/{tag}")
    return None if body is None else _digest(body)


class ImageCache:
    """Pulled images, by digest, below a directory. Thread-safe."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()

    def pull(self, resolved: str) -> Pulled:
        """Pull an image by `host/name@sha256:…`, from the cache when it was unpacked before.

        Raises:
            FcError: FunctionNotStarted: the image does not exist, or its digest is wrong.
        """
        try:
            with self._lock:
                return self._pull(resolved)
        except (RegistryUnavailableError, OSError, ValueError, KeyError, TypeError, tarfile.TarError) as cause:
            raise not_started(f"image '{resolved}' can not be pulled: {cause!r}") from cause

    def _pull(self, resolved: str) -> Pulled:
        host, repository, digest = _parts(resolved)
        manifest = json.loads(_fetch_verified(host, f"/v2/{repository}/manifests/{digest}", digest))
        config_digest = manifest["config"]["digest"]
        run = (
            json.loads(_fetch_verified(host, f"/v2/{repository}/blobs/{config_digest}", config_digest)).get("config")
            or {}
        )
        environment = dict(each.partition("=")[::2] for each in run.get("Env") or [])
        argv = [*(run.get("Entrypoint") or []), *(run.get("Cmd") or [])]
        variables = {key: value for key, value in environment.items() if key.startswith(_PREFIX)}
        path = variables.get(_PATH, "").strip("/")
        layers = [each for each in manifest["layers"] if _FILES in (each.get("annotations") or {})]
        if not path or not layers:
            return Pulled(argv, variables, "", None)
        place = self._root / digest.partition(":")[2]
        if not place.exists():
            self._unpack(host, repository, layers, path, place)
        return Pulled(argv, variables, f"/{path}", place / path)

    def _unpack(self, host: str, repository: str, layers: Sequence[Mapping[str, Any]], path: str, place: Path) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=self._root, prefix="pulling-"))
        try:
            for layer in layers:
                _unpack(host, f"/v2/{repository}/blobs/{layer['digest']}", str(layer["digest"]), path, beside)
            beside.rename(place)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise


class _Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


class _HashingReader:
    """A reader that hashes what it reads."""

    def __init__(self, inner: _Readable) -> None:
        self._inner = inner
        self.sha = hashlib.sha256()

    def read(self, size: int = 1 << 20) -> bytes:
        data = self._inner.read(size)
        self.sha.update(data)
        return data


def _unpack(host: str, path: str, digest: str, below: str, into: Path) -> None:
    connection = _connected(host)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != 200:
            raise RegistryUnavailableError(f"{path}: answered {answer.status}")
        hashed = _HashingReader(answer)
        with tarfile.open(fileobj=hashed, mode="r|*") as archive:  # type: ignore[call-overload]  # it only reads
            for member in archive:
                if f"{member.name}/".startswith(f"{below}/") or member.isdir():
                    _extract(archive, member, into)
        while hashed.read():
            pass
    except http.client.HTTPException as cause:
        raise RegistryUnavailableError(f"{path}: {cause!r}") from cause
    finally:
        connection.close()
    if f"sha256:{hashed.sha.hexdigest()}" != digest:
        raise ValueError(f"{path} is sha256:{hashed.sha.hexdigest()}")


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, into: Path) -> None:
    """A file or a directory, which is all that a layer of model files has.

    Not by `TarFile.extract`: its `filter` came with Python 3.11.4, and without one it follows what the archive says.
    """
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        raise ValueError(f"{member.name} leads out of the image")
    place = into / name
    if member.isdir():
        place.mkdir(parents=True, exist_ok=True)
        return
    data = archive.extractfile(member) if member.isreg() else None
    if data is None:
        raise ValueError(f"{member.name} is neither a file nor a directory")
    place.parent.mkdir(parents=True, exist_ok=True)
    with data, place.open("wb") as file:
        shutil.copyfileobj(data, file)


def _fetch_verified(host: str, path: str, digest: str) -> bytes:
    body = _get(host, path)
    if body is None:
        raise RegistryUnavailableError(f"{path} does not exist")
    if _digest(body) != digest:
        raise ValueError(f"{path} is {_digest(body)}")
    return body


def _get(host: str, path: str) -> bytes | None:
    connection = _connected(host)
    try:
        connection.request("GET", path, headers={"Accept": ", ".join(_KINDS)})
        answer = connection.getresponse()
        body = answer.read(_DOCUMENT_BYTES_MAX)
    except (OSError, http.client.HTTPException) as cause:
        raise RegistryUnavailableError(f"{host} does not respond: {cause!r}") from cause
    finally:
        connection.close()
    if answer.status == 404:
        return None
    if answer.status != 200:
        raise RegistryUnavailableError(f"{host}{path}: answered {answer.status}")
    return body


def _connected(host: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(host, timeout=_TIMEOUT_S)


def _parts(name: str) -> tuple[str, str, str]:
    """Host, repository, and tag or digest."""
    host, _, rest = name.partition("/")
    if "@" in rest:
        return host, rest.partition("@")[0].partition(":")[0], rest.partition("@")[2]
    repository, _, tag = rest.partition(":")
    return host, repository, tag or "latest"


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
