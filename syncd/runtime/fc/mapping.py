"""What an answer of Function Compute says in our words. It is read as it comes: the SDK's classes are not needed."""

from __future__ import annotations

from typing import Any

from syncd.runtime.fc.image import image_of
from syncd.values.function import Change, Mount, MountKind


def check(function: Any) -> None:
    """See that everything which is read of a function later can be read.

    Raises:
        ValueError, TypeError, AttributeError: Something is missing, or is no such thing.
    """
    if not function.function_name:
        raise ValueError("there is no function in it")
    environment = function.environment_variables or {}
    if not all(isinstance(text, str) for pair in environment.items() for text in pair):
        raise TypeError("its variables are no texts")
    for mount in _mounts(function):
        if not mount.mount_dir or not all(isinstance(text, str | None) for text in (mount.source, mount.path)):
            raise TypeError("its mounts are no texts")
    if not isinstance(image_of(function), str):
        raise TypeError("its image is no text")


def named(function: Any, like: Change) -> Change:
    """Of a function, what `like` names: the mounts at its directories, the variables of its names, an image."""
    directories = {mount.mount_dir for mount in like.mounts}
    environment = function.environment_variables or {}
    return Change(
        tuple(mount for mount in _mounts(function) if mount.mount_dir in directories),
        {name: environment[name] for name in like.environment if name in environment},
        like.image and image_of(function),
    )


def points(config: Any) -> list[Any]:
    """The mount points of a part of a function's configuration, which may be absent."""
    return list(config.mount_points or []) if config else []


def _mounts(function: Any) -> list[Mount]:
    oss = [
        Mount(MountKind.OSS, p.bucket_name, p.bucket_path, p.mount_dir, p.endpoint or "")
        for p in points(function.oss_mount_config)
    ]
    nas = [Mount(MountKind.NAS, *_server(p.server_addr), p.mount_dir) for p in points(function.nas_config)]
    return sorted(oss + nas, key=lambda mount: mount.mount_dir)


def _server(address: str | None) -> tuple[str, str]:
    """`server:/path` as both."""
    server, _, path = (address or "").partition(":")
    return server, path
