"""Image repository: digests of tags, and the commands of images."""

import hashlib
import json
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from syncd.localcloud.fc.functions.function_store import write_json
from syncd.localcloud.fc.images import image_pull


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """An image: its digest (`sha256:…`) and its default command."""

    digest: str
    argv: Sequence[str] = field(default=())


class ImageTable:
    """Images by `repo:tag`, stored in a file. Thread-safe; every change is on disk when the method returns.

    An unknown tag is accepted, so that a function with its own command needs no entry; a tag in a registry on
    loopback is resolved there. Each call checks the resolved digest again, as the real service does.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        entries = json.loads(path.read_text()) if path.exists() else {}
        self._images = {name: ImageEntry(**entry) for name, entry in entries.items()}
        self._pulled = image_pull.ImageCache(path.parent / "pulled")

    def put(self, name: str, argv: Sequence[str] = (), digest: str | None = None) -> ImageEntry:
        """Push an image under a tag, replacing an earlier one. The digest defaults to a hash of name and command."""
        image = ImageEntry(digest or _digest_of(name, argv), list(argv))
        with self._lock:
            self._images = {**self._images, name: image}
            self._write()
        return image

    def remove(self, name: str) -> None:
        """Delete a tag. Idempotent."""
        with self._lock:
            self._images = {k: v for k, v in self._images.items() if k != name}
            self._write()

    def find(self, name: str) -> ImageEntry | None:
        return self._images.get(name)

    def resolve(self, name: str) -> str | None:
        """`repo@sha256:…` of a tag; None when the image does not exist or its registry is unavailable."""
        image = self._images.get(name)
        if image is None and image_pull.is_loopback(name):
            try:
                found = image_pull.digest_of(name)
            except image_pull.RegistryUnavailableError:
                return None
            return f"{_repository(name)}@{found}" if found else None
        return f"{_repository(name)}@{image.digest if image else _digest_unseen(name)}"

    def pull(self, name: str, resolved: str | None) -> image_pull.Pulled | None:
        """The pulled image; None when the image is in no registry on loopback.

        Raises:
            FcError: FunctionNotStarted: the image cannot be pulled.
        """
        if resolved is None or self._images.get(name) is not None or not image_pull.is_loopback(name):
            return None
        return self._pulled.pull(resolved)

    def unavailable_reason(self, name: str, resolved: str) -> str:
        """Why the resolved image cannot run now; '' when it can."""
        image = self._images.get(name)
        if image is None and image_pull.is_loopback(name):
            return self._loopback_unavailable_reason(name, resolved)
        if image is not None and resolved != f"{_repository(name)}@{image.digest}":
            return f"image '{name}' was {resolved} when the function was saved, now it is {image.digest}"
        if image is None and not resolved.endswith(_digest_unseen(name)):
            return f"image '{name}' no longer exists; it was {resolved}"
        return ""

    def _loopback_unavailable_reason(self, name: str, resolved: str) -> str:
        try:
            found = image_pull.digest_of(name)
        except image_pull.RegistryUnavailableError:
            return ""  # an image that was pulled before stays usable
        if found is None:
            return f"image '{name}' no longer exists; it was {resolved}"
        moved = resolved != f"{_repository(name)}@{found}"
        return f"image '{name}' was {resolved} when the function was saved, now it is {found}" if moved else ""

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self._path, {name: asdict(image) for name, image in self._images.items()})


def _repository(name: str) -> str:
    before, _, last = name.partition("@")[0].rpartition("/")
    return f"{before}/{last.split(':')[0]}" if before else last.split(":")[0]


def _digest_unseen(name: str) -> str:
    return _digest_of(name, ("never pushed here",))


def _digest_of(name: str, argv: Sequence[str]) -> str:
    return "sha256:" + hashlib.sha256("\0".join((name, *argv)).encode()).hexdigest()
