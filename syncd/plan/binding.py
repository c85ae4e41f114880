"""What a binding says, and the change to a function that follows from the versions it is to serve."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from syncd.artifact.digest import Digest
from syncd.artifact.manifest import MODELS_DIRECTORY
from syncd.errors import Invalid
from syncd.values.function import Change, Golden, Latency, Mount, MountKind, Names, Probe

ENVIRONMENT_MAX_BYTES: Final = 4096  # all variables of a function together


class MountMode(StrEnum):
    """How a model reaches a function."""

    VERSION = "version"  # the version's own directory, at a fixed place
    ROOT = "root"  # the models' root once; the versions are named in one variable
    IMAGE = "image"  # nothing is mounted: the files are in the function's own image


class ProofGrade(StrEnum):
    """How a function proves what is in its memory before its alias moves."""

    NONE = "none"  # by its digests alone
    SAMPLE = "sample"  # 64 ranges that a nonce chooses
    FULL = "full"  # these, and every byte of the weights, once before the flip


@dataclass(frozen=True, slots=True)
class ModelLocation:
    """A target as a function sees it."""

    kind: MountKind
    source: str  # bucket, or NAS server
    path: str  # of the target's root within it, absolute, without a slash at the end ("" for the root)
    endpoint: str = ""


@dataclass(frozen=True, slots=True)
class BoundModel:
    """One model of a binding. The `*_variable`s are names of environment variables, "" for none.

    `mount_dir` is empty where the model is in the function's image.
    """

    model: str
    target: str
    mode: MountMode
    mount_dir: str
    digest_variable: str = ""
    path_variable: str = ""
    version_variable: str = ""
    versions_variable: str = ""  # mode ROOT: JSON {model: {"path": …, "digest": …}}


@dataclass(frozen=True, slots=True)
class PrewarmPolicy:
    """How many instances are held ready for a version before it is probed, and for the one before it after the flip.

    `previous` is the alias for the latter, `rollback_s` how long; 0 for not at all.
    """

    instances: int
    timeout_s: float
    previous: str = ""
    rollback_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Binding:
    """An alias of a function, and the models that are flipped with it."""

    name: str
    runtime: str
    function: str
    alias: str
    candidate: str
    models: tuple[BoundModel, ...]
    probe_body: bytes = b"{}"
    probe_timeout_s: float = 60.0
    golden: tuple[Golden, ...] = ()
    latency: Latency | None = None
    load_path: str = ""  # where an answer says how long loading took
    warmth: PrewarmPolicy | None = None
    proof: ProofGrade = ProofGrade.NONE

    def probe(self, digests: Iterable[Digest]) -> Probe:
        """The probe of a version that serves these digests, used by a release and by its analysis."""
        return Probe(self.probe_body, tuple(digests), self.probe_timeout_s, self.golden, self.latency, self.load_path)


@dataclass(frozen=True, slots=True)
class InImage:
    """A version in an image: its name with tag and digest, and the directory of the files in it."""

    reference: str
    directory: str


@dataclass(frozen=True, slots=True)
class Serving:
    """A version as one function is to serve it. `images` are by target, where it was made into some."""

    version: str
    digest: Digest
    directory: str  # Manifest.directory
    images: Mapping[str, InImage] = field(default_factory=dict)


def change_for(binding: Binding, places: Mapping[str, ModelLocation], serves: Mapping[str, Serving]) -> Change:
    """The mounts, the image and the variables with which the binding's function serves exactly `serves`.

    A model that has no version yet is left out: its mount and variables come with its first release.

    Raises:
        Invalid: The variables would not fit into the platform's 4 KB, or there is no image of a version yet.
    """
    image = ""
    mounts: dict[str, Mount] = {}
    environment: dict[str, str] = {}
    named: dict[str, dict[str, dict[str, str]]] = {}
    for bound in binding.models:
        serving = serves.get(bound.model)
        if serving is None:
            continue
        if bound.mode is MountMode.IMAGE:
            baked = _image(bound, serving)
            image, path = baked.reference, baked.directory
        elif bound.mode is MountMode.VERSION:
            mounts[bound.mount_dir] = _mount(places[bound.target], serving.directory, bound.mount_dir)
            path = bound.mount_dir
        else:
            mounts[bound.mount_dir] = _mount(places[bound.target], MODELS_DIRECTORY, bound.mount_dir)
            path = f"{bound.mount_dir}/{serving.directory.removeprefix(MODELS_DIRECTORY + '/')}"
            entry = {"digest": serving.digest.hex, "path": path}
            named.setdefault(bound.versions_variable, {})[bound.model] = entry
        variables = {
            bound.digest_variable: serving.digest.hex,
            bound.path_variable: path,
            bound.version_variable: serving.version,
        }
        environment |= {name: value for name, value in variables.items() if name}
    for variable, models in named.items():
        environment[variable] = versions_text(models)
    _check_size(binding, environment)
    return Change(tuple(mounts[key] for key in sorted(mounts)), dict(sorted(environment.items())), image)


def names_of(binding: Binding, models: Collection[str]) -> Names:
    """The mount directories and variables of these models of the binding. Some may be those of other models, too."""
    bound = [each for each in binding.models if each.model in models]
    variables = [
        name
        for each in bound
        for name in (each.digest_variable, each.path_variable, each.version_variable, each.versions_variable)
    ]
    return Names(frozenset(each.mount_dir for each in bound) - {""}, frozenset(variables) - {""})


def unset_names(binding: Binding, change: Change, models: Collection[str]) -> Names:
    """The mount directories and variables of these models that `change` does not set."""
    names = names_of(binding, models)
    set_here = {mount.mount_dir for mount in change.mounts}
    return Names(names.mount_dirs - set_here, names.variables - change.environment.keys())


def versions_text(models: Mapping[str, Mapping[str, str]]) -> str:
    """The one variable of a root mount: compact JSON, model to path and digest, in the order of the models."""
    return json.dumps(models, separators=(",", ":"), sort_keys=True)


def environment_bytes(environment: Mapping[str, str]) -> int:
    """What the variables count towards the platform's limit."""
    return sum(len(name.encode()) + len(value.encode()) for name, value in environment.items())


def _image(bound: BoundModel, serving: Serving) -> InImage:
    baked = serving.images.get(bound.target)
    if baked is None:
        raise Invalid(
            f"{bound.model}@{serving.version} has no image at {bound.target}",
            hint=f"`syncd publish {bound.model}@{serving.version}` makes one",
        )
    return baked


def _mount(place: ModelLocation, directory: str, mount_dir: str) -> Mount:
    return Mount(place.kind, place.source, f"{place.path}/{directory}", mount_dir, place.endpoint)


def _check_size(binding: Binding, environment: Mapping[str, str]) -> None:
    size_bytes = environment_bytes(environment)
    if size_bytes > ENVIRONMENT_MAX_BYTES:
        raise Invalid(
            f"binding {binding.name}: its variables would take {size_bytes} of {ENVIRONMENT_MAX_BYTES} bytes",
            hint="mount fewer models as root on this function, or use shorter model and version names",
        )
