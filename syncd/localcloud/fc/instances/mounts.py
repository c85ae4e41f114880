"""Mounts of an instance: OSS prefixes as copies, NAS directories as links."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from syncd.localcloud.fc.errors import not_started
from syncd.localcloud.fc.functions.validation import Json, nas_location, nas_mounts, oss_mounts

_ENDPOINT = re.compile(r"(?:https?://)?oss-(?P<region>[a-z0-9-]+?)(?P<internal>-internal)?\.aliyuncs\.com/?")

# An accelerator is in one zone: cn-hangzhou-j, ap-southeast-1c. It is reached from its own region alone.
_ACCELERATOR = re.compile(r"(?:https?://)?(?P<region>[a-z0-9-]+?)-?[a-z]-internal\.oss-data-acc\.aliyuncs\.com/?")


class MountedPrefix(Protocol):
    """Whether the bucket and the marker object of the prefix exist (the root always has one)."""

    @property
    def bucket_exists(self) -> bool: ...
    @property
    def marker_exists(self) -> bool: ...


class ObjectMounts(Protocol):
    """A region's object storage, as mounts use it."""

    def materialize(self, bucket: str, prefix: str, into: Path) -> MountedPrefix:
        """Write every object below `prefix` ('' or ending in '/') as a file below the directory `into`."""
        ...


@dataclass(frozen=True, slots=True)
class Storage:
    """The storage that mounts of a region reach. `elsewhere` is other regions' object storage, by region."""

    region: str
    oss: ObjectMounts
    elsewhere: Mapping[str, ObjectMounts]
    nas_root: Path


def mount_all(config: Json, root: Path, storage: Storage) -> None:
    """Create every mount of the configuration below `root`.

    A missing NAS directory is created, as by the real service: a wrong path is not an error.

    Raises:
        FcError: FunctionNotStarted, with the reason of the failed mount.
    """
    for point in oss_mounts(config):
        _mount_oss(point, root, storage)
    for point in nas_mounts(config):
        host, path = nas_location(point["serverAddr"])
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
    """The storage behind an endpoint. Of another region only the public endpoint is reachable."""
    zone = _ACCELERATOR.fullmatch(endpoint)
    if zone is not None:
        return storage.oss if zone["region"] == storage.region else None
    named = _ENDPOINT.fullmatch(endpoint)
    if named is None or named["region"] == storage.region:
        return storage.oss
    return None if named["internal"] else storage.elsewhere.get(named["region"])


def _place(root: Path, point: Json) -> Path:
    return root / str(point["mountDir"]).strip("/")
