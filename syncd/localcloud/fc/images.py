"""The image repository as far as Function Compute looks into it: digests of tags, and what images run."""

import hashlib
import json
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from syncd.localcloud.fc import pulling
from syncd.localcloud.fc.shelf import write_json


@dataclass(frozen=True, slots=True)
class Image:
    """An image: its digest (`sha256:…`) and the command it runs where the function names none."""

    digest: str
    argv: Sequence[str] = field(default=())


class ImageTable:
    """Images by `repo:tag`, kept in a file. Safe from many threads; what a method changed is on disk.

    A tag never put here is taken as it comes, so that a function with its own command needs no entry; but of one
    in a registry on this machine's loopback that registry is asked. What was found when a function was saved is looked
    up again at each call, as the real service does.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        entries = json.loads(path.read_text()) if path.exists() else {}
        self._images = {name: Image(**entry) for name, entry in entries.items()}
        self._pulled = pulling.Cache(path.parent / "pulled")

    def put(self, name: str, argv: Sequence[str] = (), digest: str | None = None) -> Image:
        """Push an image under a tag, over what was there; the digest defaults to one of name and command."""
        image = Image(digest or _digest_of(name, argv), list(argv))
        with self._lock:
            self._images = {**self._images, name: image}
            self._write()
        return image

    def remove(self, name: str) -> None:
        """Delete a tag; deleting what is not there is success."""
        with self._lock:
            self._images = {k: v for k, v in self._images.items() if k != name}
            self._write()

    def find(self, name: str) -> Image | None:
        return self._images.get(name)

    def resolve(self, name: str) -> str | None:
        """`repo@sha256:…` of a tag; None where there is no such image, or its registry does not say."""
        image = self._images.get(name)
        if image is None and pulling.is_here(name):
            try:
                found = pulling.digest_of(name)
            except pulling.NotAskedError:
                return None
            return f"{_repository(name)}@{found}" if found else None
        return f"{_repository(name)}@{image.digest if image else _digest_unseen(name)}"

    def pull(self, name: str, resolved: str | None) -> pulling.Pulled | None:
        """What an instance finds of an image in its registry; None where it is in none that can be asked.

        Raises:
            FcError: FunctionNotStarted: it can not be had.
        """
        if resolved is None or self._images.get(name) is not None or not pulling.is_here(name):
            return None
        return self._pulled.pull(resolved)

    def complaint(self, name: str, resolved: str) -> str:
        """Why a function that resolved the tag once can not run it now; '' when it can."""
        image = self._images.get(name)
        if image is None and pulling.is_here(name):
            return self._complaint_here(name, resolved)
        if image is not None and resolved != f"{_repository(name)}@{image.digest}":
            return f"image '{name}' was {resolved} when the function was saved, now it is {image.digest}"
        if image is None and not resolved.endswith(_digest_unseen(name)):
            return f"image '{name}' no longer exists, it was {resolved}"
        return ""

    def _complaint_here(self, name: str, resolved: str) -> str:
        try:
            found = pulling.digest_of(name)
        except pulling.NotAskedError:
            return ""  # what was pulled before goes on
        if found is None:
            return f"image '{name}' no longer exists, it was {resolved}"
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
