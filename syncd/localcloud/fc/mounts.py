"""What an instance finds in its directory: OSS prefixes as copies, NAS directories as links."""

import re
from pathlib import Path
from typing import Protocol

from syncd.localcloud.fc.errors import not_started
from syncd.localcloud.fc.shape import Json, nas_mounts, nas_place, oss_mounts

_INTERNAL = re.compile(r"(?:https?://)?oss-(?P<region>[a-z0-9-]+)-internal\.aliyuncs\.com/?")


class ObjectMounts(Protocol):
    """The region's object storage as mounts see it."""

    def materialize(self, bucket: str, prefix: str, into: Path) -> None:
        """Lay out every object below `prefix` ('' or ending in '/') as files below `into`, which is empty.

        Raises:
            LookupError: There is no such bucket, or no object that is the prefix itself.
        """
        ...


def mount_all(config: Json, root: Path, region: str, oss: ObjectMounts, nas_root: Path) -> None:
    """Put every mount of the configuration below `root`, each at its own directory.

    A missing NAS directory is made, empty, as the real service does: a wrong path is not an error.

    Raises:
        FcError: FunctionNotStarted, with the words of the failed mount.
    """
    for point in oss_mounts(config):
        _mount_oss(point, root, region, oss)
    for point in nas_mounts(config):
        host, path = nas_place(point["serverAddr"])
        served = nas_root / host / path.strip("/")
        served.mkdir(parents=True, exist_ok=True)
        place = _place(root, point)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(served.resolve(), target_is_directory=True)


def _mount_oss(point: Json, root: Path, region: str, oss: ObjectMounts) -> None:
    bucket, prefix = point["bucketName"], (point.get("bucketPath") or "").strip("/")
    internal = _INTERNAL.fullmatch(point.get("endpoint") or "")
    if internal is not None and internal["region"] != region:
        raise not_started(f"failed to mount oss://{bucket}/{prefix}: deadline exceeded: {point['endpoint']}")
    place = _place(root, point)
    place.mkdir(parents=True, exist_ok=True)
    try:
        oss.materialize(bucket, f"{prefix}/" if prefix else "", place)
    except LookupError as cause:
        raise not_started(
            f"failed to mount oss://{bucket}/{prefix}: bucket not found or bucket path does not exist ({cause})"
        ) from cause


def _place(root: Path, point: Json) -> Path:
    return root / str(point["mountDir"]).strip("/")
