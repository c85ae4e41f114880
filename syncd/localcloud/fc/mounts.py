"""What an instance finds in its directory: OSS prefixes as copies, NAS directories as links."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from syncd.localcloud.fc.errors import not_started
from syncd.localcloud.fc.shape import Json, nas_mounts, nas_place, oss_mounts

_ENDPOINT = re.compile(r"(?:https?://)?oss-(?P<region>[a-z0-9-]+?)(?P<internal>-internal)?\.aliyuncs\.com/?")


class Found(Protocol):
    """What a mount met: its bucket, and the object that is the prefix itself (there is one for the root)."""

    @property
    def bucket_exists(self) -> bool: ...
    @property
    def marker_exists(self) -> bool: ...


class ObjectMounts(Protocol):
    """A region's object storage as mounts see it."""

    def materialize(self, bucket: str, prefix: str, into: Path) -> Found:
        """Lay out every object below `prefix` ('' or ending in '/') as files below the directory `into`."""
        ...


@dataclass(frozen=True, slots=True)
class Storage:
    """Where mounts lead from a region; `elsewhere` is other regions' object storage, by region."""

    region: str
    oss: ObjectMounts
    elsewhere: Mapping[str, ObjectMounts]
    nas_root: Path


def mount_all(config: Json, root: Path, storage: Storage) -> None:
    """Put every mount of the configuration below `root`, each at its own directory.

    A missing NAS directory is made, empty, as the real service does: a wrong path is not an error.

    Raises:
        FcError: FunctionNotStarted, with the words of the failed mount.
    """
    for point in oss_mounts(config):
        _mount_oss(point, root, storage)
    for point in nas_mounts(config):
        host, path = nas_place(point["serverAddr"])
        served = storage.nas_root / host / path.strip("/")
        served.mkdir(parents=True, exist_ok=True)
        place = _place(root, point)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(served.resolve(), target_is_directory=True)


def _mount_oss(point: Json, root: Path, storage: Storage) -> None:
    bucket, prefix = point["bucketName"], (point.get("bucketPath") or "").strip("/")
    refusal = f"failed to mount oss://{bucket}/{prefix}"
    oss = _reached(point.get("endpoint") or "", storage)
    if oss is None:
        raise not_started(f"{refusal}: deadline exceeded: {point['endpoint']}")
    place = _place(root, point)
    place.mkdir(parents=True, exist_ok=True)
    found = oss.materialize(bucket, f"{prefix}/" if prefix else "", place)
    if not found.bucket_exists:
        raise not_started(f"{refusal}: bucket not found")
    if not found.marker_exists:
        raise not_started(f"{refusal}: bucket not found or bucket path does not exist")


def _reached(endpoint: str, storage: Storage) -> ObjectMounts | None:
    """The storage behind an endpoint. Only the public one of another region is reachable from here."""
    named = _ENDPOINT.fullmatch(endpoint)
    if named is None or named["region"] == storage.region:
        return storage.oss
    return None if named["internal"] else storage.elsewhere.get(named["region"])


def _place(root: Path, point: Json) -> Path:
    return root / str(point["mountDir"]).strip("/")
