"""Mapping of Function Compute's answers to syncd's values. Answers are untyped: the SDK's classes are not needed."""

from __future__ import annotations

from typing import Any

from syncd.values.function import Change, Mount, MountKind


def check(function: Any) -> None:
    """Validate every field of a function that is read later.

    Raises:
        ValueError, TypeError, AttributeError: A field is missing, or has another type.
    """
    if not function.function_name:
        raise ValueError("it has no function name")
    environment = function.environment_variables or {}
    if not all(isinstance(text, str) for pair in environment.items() for text in pair):
        raise TypeError("its variables are not texts")
    for mount in _mounts(function):
        if not mount.mount_dir or not all(isinstance(text, str | None) for text in (mount.source, mount.path)):
            raise TypeError("its mounts are not texts")
    if not isinstance(image_of(function), str):
        raise TypeError("its image is not a text")


def named(function: Any, like: Change) -> Change:
    """The parts of a function that `like` has or names: mounts by directory, variables by name, an image."""
    directories = {mount.mount_dir for mount in like.mounts} | like.without.mount_dirs
    environment = function.environment_variables or {}
    return Change(
        tuple(mount for mount in _mounts(function) if mount.mount_dir in directories),
        {name: environment[name] for name in (*like.environment, *like.without.variables) if name in environment},
        like.image and image_of(function),
    )


def image_of(function: Any) -> str:
    """The image with the digest that its tag was resolved to, if it was."""
    container = function.custom_container_config
    name = (container.image if container else "") or ""
    resolved = (container.resolved_image_uri if container else "") or ""
    digest = resolved.partition("@")[2]
    return f"{name.partition('@')[0]}@{digest}" if name and digest else name


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
    """Split `server:/path`."""
    server, _, path = (address or "").partition(":")
    return server, path
