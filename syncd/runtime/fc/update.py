"""The update of a function that carries a change, and whether a function carries one."""

from __future__ import annotations

from alibabacloud_fc20230330 import models as fc

from syncd.runtime.fc import image
from syncd.runtime.fc.mapping import named, points
from syncd.values.function import Change, Mount, MountKind


def merged(now: fc.Function, change: Change) -> fc.UpdateFunctionInput:
    """The update that carries `change`, lacks what it must not have, and leaves everything else as it was read.

    Omitted top-level fields keep their values; nested objects replace, so they are sent whole. An empty list of
    mount points unmounts everything, so it is sent only where there was something to unmount.
    """
    there = now.environment_variables or {}
    kept = {name: value for name, value in there.items() if name not in change.without.variables}
    update = fc.UpdateFunctionInput(
        # The API insists on a handler that containers do not use, and may read it back as ''.
        handler=now.handler or "index.handler",
        environment_variables={**kept, **change.environment},
    )
    ours = {mount.mount_dir for mount in change.mounts} | change.without.mount_dirs
    oss = [p for p in points(now.oss_mount_config) if p.mount_dir not in ours]
    oss += [_oss_point(mount) for mount in change.mounts if mount.kind is MountKind.OSS]
    if oss or points(now.oss_mount_config):
        update.oss_mount_config = fc.OSSMountConfig(mount_points=oss)
    nas = [p for p in points(now.nas_config) if p.mount_dir not in ours]
    nas += [_nas_point(mount) for mount in change.mounts if mount.kind is MountKind.NAS]
    if nas or points(now.nas_config):
        owner = now.nas_config
        update.nas_config = fc.NASConfig(
            mount_points=nas,
            user_id=owner.user_id if owner and owner.user_id is not None else 0,
            group_id=owner.group_id if owner and owner.group_id is not None else 0,
        )
    if change.image:
        update.custom_container_config = image.container_with(now, change)
    return update


def carries(function: fc.Function, change: Change) -> bool:
    """Whether a function, or a version of it, has all that `change` has, and nothing of what it must not have."""
    there = named(function, change)
    return (
        set(there.mounts) == set(change.mounts)
        and dict(there.environment) == dict(change.environment)
        and there.image == change.image
    )


def _oss_point(mount: Mount) -> fc.OSSMountPoint:
    return fc.OSSMountPoint(
        bucket_name=mount.source,
        bucket_path=mount.path,
        endpoint=mount.endpoint,
        mount_dir=mount.mount_dir,
        read_only=True,  # a published version is never written again, not by a function either
    )


def _nas_point(mount: Mount) -> fc.NASMountConfig:
    return fc.NASMountConfig(server_addr=f"{mount.source}:{mount.path}", mount_dir=mount.mount_dir, enable_tls=False)
