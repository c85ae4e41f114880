"""What a binding's function mounts and is told for given versions: the settings applied to manifests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from syncd.artifact.manifest import MODELS_DIRECTORY, Manifest
from syncd.config.values import Config, NasTargetSettings, ServedModelSettings, TargetSettings
from syncd.errors import Invalid
from syncd.runtime.base import Change, Mount, MountKind

ENVIRONMENT_BYTES_MAX: Final = 4096  # Function Compute's limit for all variables of a function together


def change_of(config: Config, binding: str, serves: Mapping[str, Manifest]) -> Change:
    """The mounts and variables with which the binding's function serves these manifests, by model.

    A model of the binding that is not in `serves` has no version yet and is left out. Mounts are in the order of
    their directories, so that the same arguments give the same change.

    Raises:
        Invalid: The variables would pass Function Compute's 4 KB.
    """
    mounts: dict[str, Mount] = {}
    environment: dict[str, str] = {}
    versions: dict[str, dict[str, dict[str, str]]] = {}
    for served in config.bindings[binding].models:
        manifest = serves.get(served.model)
        if manifest is None:
            continue
        mounts[served.mount_dir] = _mount(config.targets[served.target], served, manifest)
        if served.mount == "root":
            versions.setdefault(served.env.versions or "", {})[served.model] = _line(served, manifest)
        environment.update(_told(served, manifest))
    environment.update({name: versions_text(lines) for name, lines in versions.items()})
    size_bytes = environment_bytes(environment)
    if size_bytes > ENVIRONMENT_BYTES_MAX:
        raise Invalid(
            f"binding {binding}: its variables have {size_bytes} bytes, a function may have {ENVIRONMENT_BYTES_MAX}",
            hint="use shorter version names, or split the models over two functions",
        )
    return Change(tuple(mounts[mount_dir] for mount_dir in sorted(mounts)), dict(sorted(environment.items())))


def model_path(served: ServedModelSettings, manifest: Manifest) -> str:
    """Where the function finds the model's files."""
    if served.mount == "version":
        return served.mount_dir
    return served.mount_dir + manifest.directory.removeprefix(MODELS_DIRECTORY)


def versions_text(lines: Mapping[str, Mapping[str, str]]) -> str:
    """The one variable of a root mount: compact JSON, model to path and digest, in the order of the models."""
    return json.dumps(lines, separators=(",", ":"), sort_keys=True)


def environment_bytes(environment: Mapping[str, str]) -> int:
    """What the variables count towards the platform's limit."""
    return sum(len(name.encode()) + len(value.encode()) for name, value in environment.items())


def _line(served: ServedModelSettings, manifest: Manifest) -> dict[str, str]:
    return {"digest": manifest.digest.hex, "path": model_path(served, manifest)}


def _told(served: ServedModelSettings, manifest: Manifest) -> dict[str, str]:
    told = {
        served.env.digest: manifest.digest.hex,
        served.env.path: model_path(served, manifest),
        served.env.version: manifest.version,
    }
    return {name: value for name, value in told.items() if name is not None}


def _mount(target: TargetSettings, served: ServedModelSettings, manifest: Manifest) -> Mount:
    directory = MODELS_DIRECTORY if served.mount == "root" else manifest.directory
    if isinstance(target, NasTargetSettings):
        return Mount(MountKind.NAS, target.server, str(target.server_path / directory), served.mount_dir)
    endpoint = target.mount_endpoint or target.endpoint
    return Mount(MountKind.OSS, target.bucket, f"/{target.prefix}{directory}", served.mount_dir, endpoint)
