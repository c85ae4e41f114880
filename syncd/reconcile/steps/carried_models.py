"""What a function version carries: its models, the bases of their images, and how it is staged again once deleted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType

from sqlalchemy import Connection

from syncd.artifact.manifest import MODELS_DIRECTORY, directory_of
from syncd.plan.binding import (
    Binding,
    InImage,
    MountMode,
    Serving,
    change_for,
    names_of,
    unset_names,
)
from syncd.plan.topology import Topology
from syncd.reconcile.context import Attempt
from syncd.runtime.base import Runtime
from syncd.state.content import base_images, images, versions
from syncd.state.records import FunctionVersion, ReleaseBase, Version
from syncd.state.serving import flips, live
from syncd.values.function import Change, Names


@dataclass(frozen=True, slots=True)
class CarriedModels:
    """What a function version carries, as it is staged again after it was deleted."""

    binding: Binding
    models: Mapping[str, str]
    change: Change
    digest: str  # of the part of it that is these models'
    known: Sequence[str]  # function versions that were staged with the same
    release_id: str  # that staged it; "" where that is not recorded

    def note(self, conn: Connection, function_version: str, now: datetime) -> None:
        """Record the function version that carries it now. Repeating it is success."""
        if self.release_id:
            name = self.binding.name
            carried = FunctionVersion(name, function_version, self.models, self.digest, self.release_id, now)
            live.note_function_version(conn, carried)


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What staging may have left in LATEST of models that a binding is not to serve, such as an undone one.

    `marks` are by model, as by `marks_of` of each of its versions. `base` is the image below the layers of such a
    model; "" if none of them is in the image.
    """

    binding: Binding
    marks: Mapping[str, frozenset[str]]
    base: str

    def removed_from(self, change: Change) -> Change:
        """The change, with which the function has nothing of these models."""
        return replace(change, without=unset_names(self.binding, change, self.marks), image=change.image or self.base)

    def replaced_in(self, change: Change, runtime: Runtime, served: str | None) -> Change:
        """The same, but what the served function version has of a model and is no version of syncd's stays.

        Raises: As `Runtime.latest`.
        """
        removed = self.removed_from(change)
        if served is None or not (removed.without or self.base):
            return removed
        found = runtime.latest(self.binding.function, Change((), {}, self.base, removed.without), served)
        known = {model for model, marks in self.marks.items() if carries(_part(found, self.binding, model), marks)}
        gone = names_of(self.binding, known)
        mounts = [mount for mount in found.mounts if mount.mount_dir not in gone.mount_dirs]
        variables = {name: value for name, value in found.environment.items() if name not in gone.variables}
        kept = Names(frozenset(mount.mount_dir for mount in mounts), frozenset(variables))
        is_known = any(carries(replace(found, mounts=(), environment={}), marks) for marks in self.marks.values())
        return Change(
            tuple(sorted((*change.mounts, *mounts), key=lambda mount: mount.mount_dir)),
            {**change.environment, **variables},
            change.image or (self.base if is_known else found.image),
            Names(removed.without.mount_dirs - kept.mount_dirs, removed.without.variables - kept.variables),
        )


def leftovers(conn: Connection, topology: Topology, binding: Binding, serves: Mapping[str, str]) -> Leftovers:
    """The leftovers of the models of a binding that it is not to serve, and that a release may have staged there."""
    claiming = flips.models_claiming(conn, topology.bindings_at(binding))
    bound = [each for each in binding.models if each.model in claiming - serves.keys()]
    marks = {
        each.model: frozenset().union(*(marks_of(conn, version) for version in versions.known(conn, each.model)))
        for each in bound
    }
    bases = [base_images.newest_of(conn, each.model, each.target) for each in bound if each.mode is MountMode.IMAGE]
    return Leftovers(binding, marks, next((f"{base.base}@sha256:{base.digest}" for base in bases if base), ""))


def marks_of(conn: Connection, version: Version) -> frozenset[str]:
    """Texts of which a function that carries the version has one: its directory, its digest, an image's digest."""
    directory = directory_of(version.model, version.name, version.digest)
    inner = directory.removeprefix(f"{MODELS_DIRECTORY}/")
    made = {f"sha256:{image.digest}" for image in images.of_version(conn, version.id)}
    return frozenset({f"/{inner}/", version.digest.hex, *made})


def carries(found: Change, marks: Collection[str]) -> bool:
    """Whether a part of a function has one of the marks."""
    texts = [*(f"{mount.path.rstrip('/')}/" for mount in found.mounts), *found.environment.values(), found.image]
    return any(mark in text for mark in marks for text in texts)


def _part(found: Change, binding: Binding, model: str) -> Change:
    """The mounts and variables of one model."""
    names = names_of(binding, {model})
    mounts = tuple(mount for mount in found.mounts if mount.mount_dir in names.mount_dirs)
    return Change(mounts, {name: value for name, value in found.environment.items() if name in names.variables})


def carried_by(
    conn: Connection, topology: Topology, binding: Binding, function_version: str | None, models: Mapping[str, str]
) -> CarriedModels:
    """What a recorded function version carries. Raises Invalid where the configuration cannot express it any more."""
    recorded = live.get(conn, binding.name)
    gone = live.function_version(conn, binding.name, function_version)
    release_id = gone.release_id if gone else (recorded.release_id if recorded else None) or ""
    over = base_images.over(conn, release_id)
    ours = change_for(binding, topology.places, servings(conn, models, over))
    change = leftovers(conn, topology, binding, models).removed_from(ours)
    known = staged_for(conn, binding, models, over)
    return CarriedModels(binding, models, change, digest_of(ours), known, release_id)


def bases_of(conn: Connection, job: Attempt, binding: Binding, served: Mapping[str, str]) -> list[ReleaseBase]:
    """Base images under the layers of the image to stage: of the release's own version the base it was built on.

    Of the others what it is in the function version that serves now, whatever else they were laid over since.
    """
    release, recorded = job.release, live.get(conn, binding.name)
    mine = {bound.target for bound in binding.models}
    own = [each for each in base_images.of_release(conn, release.id) if each.version_id == release.version_id]
    serving = live.function_version(conn, binding.name, recorded.function_version) if recorded else None
    before = base_images.of_release(conn, serving.release_id) if serving else []
    others = {version for model, version in served.items() if model != release.model}
    kept = [replace(each, release_id=release.id, was=None) for each in before if each.version_id in others]
    return [each for each in (*own, *kept) if each.target in mine]


def staged_for(conn: Connection, binding: Binding, serves: Mapping[str, str], over: base_images.Over) -> list[str]:
    """The function versions that were staged with exactly these versions, over these bases."""
    found = []
    for each in [known for known in live.function_versions(conn, binding.name) if dict(known.models) == serves]:
        its = base_images.over(conn, each.release_id)
        if all(over[bases] == its[bases] for bases in over.keys() & its.keys()):
            found.append(each.function_version)
    return found


def servings(
    conn: Connection, serves: Mapping[str, str], over: base_images.Over = MappingProxyType({})
) -> dict[str, Serving]:
    """The versions of these ids as a function is to serve them, by their models; in images over these bases."""
    found = {model: versions.get(conn, version_id) for model, version_id in serves.items()}
    return {
        model: Serving(v.name, v.digest, directory_of(v.model, v.name, v.digest), _images(conn, v.id, over))
        for model, v in found.items()
    }


def _images(conn: Connection, version_id: str, over: base_images.Over) -> dict[str, InImage]:
    mine = {target: digest for (of, target), digest in over.items() if of == version_id}
    return {t: InImage(i.reference, i.directory) for t, i in images.chosen(conn, version_id, mine).items()}


def digest_of(change: Change) -> str:
    """What tells one change from another in the record."""
    mounts = [[m.kind.value, m.source, m.path, m.mount_dir, m.endpoint] for m in change.mounts]
    ours = [mounts, sorted(change.environment.items()), *([change.image] if change.image else [])]
    text = json.dumps(ours, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
