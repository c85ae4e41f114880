"""What a function version carries: its models, the bases of their images, and how it is staged again once deleted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType

from sqlalchemy import Connection

from syncd.artifact.manifest import directory_of
from syncd.plan.binding import Binding, InImage, Serving, change_for, left_behind
from syncd.plan.topology import Topology
from syncd.reconcile.context import Attempt
from syncd.runtime.base import Runtime
from syncd.state.content import base_images, images, versions
from syncd.state.records import FunctionVersion, ReleaseBase
from syncd.state.serving import flips, live
from syncd.values.function import Change, Names


@dataclass(frozen=True, slots=True)
class CarriedModels:
    """What a function version carries, as it is staged again after it was deleted."""

    binding: Binding
    models: Mapping[str, str]
    change: Change
    known: Sequence[str]  # function versions that were staged with the same
    release_id: str  # that staged it; "" where that is not recorded

    def note(self, conn: Connection, function_version: str, now: datetime) -> None:
        """Record the function version that carries it now. Repeating it is success."""
        if self.release_id:
            digest = digest_of(self.change)
            carried = FunctionVersion(self.binding.name, function_version, self.models, digest, self.release_id, now)
            live.note_function_version(conn, carried)


def carried_by(
    conn: Connection, topology: Topology, binding: Binding, function_version: str | None, models: Mapping[str, str]
) -> CarriedModels:
    """What a recorded function version carries. Raises Invalid where the configuration cannot express it any more."""
    recorded = live.get(conn, binding.name)
    gone = live.function_version(conn, binding.name, function_version)
    release_id = gone.release_id if gone else (recorded.release_id if recorded else None) or ""
    over = base_images.over(conn, release_id)
    change = change_for(binding, topology.places, servings(conn, models, over))
    change = replace(change, without=left_behind(binding, change, unserved(conn, topology, binding, models)))
    return CarriedModels(binding, models, change, staged_for(conn, binding, models, over), release_id)


def unserved(conn: Connection, topology: Topology, binding: Binding, serves: Mapping[str, str]) -> frozenset[str]:
    """The models of a binding that it is not to serve, and that a release may have staged on its function."""
    bound = {model.model for model in binding.models}
    return flips.models_claiming(conn, topology.bindings_at(binding)) & bound - serves.keys()


def without_leftovers(
    runtime: Runtime, binding: Binding, change: Change, models: Collection[str], theirs: str | None
) -> Change:
    """The change, without what staging left in LATEST of models that are not to be served: an undone one would be.

    `theirs` is a function version that serves and that syncd did not stage: what it has of these models stays.

    Raises: As `Runtime.latest`.
    """
    without = left_behind(binding, change, models)
    if not without or theirs is None:
        return replace(change, without=without)
    kept = runtime.latest(binding.function, Change((), {}, without=without), theirs)
    left = Names(
        without.mount_dirs - {mount.mount_dir for mount in kept.mounts}, without.variables - kept.environment.keys()
    )
    mounts = sorted((*change.mounts, *kept.mounts), key=lambda mount: mount.mount_dir)
    return replace(change, mounts=tuple(mounts), environment={**change.environment, **kept.environment}, without=left)


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
