"""Registry source for a PAI workspace: approved versions, whose files are in buckets of OSS.

Approval is permanent, and means that a version is complete. Its files stay writable: the pin is a digest of
the tree with the bucket's own checksums, and a change is a conflict. Of an address only the bucket and the prefix
are used; the endpoint is configured.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Protocol

from syncd.artifact.names import FilePath, ModelName, VersionName, parse_path
from syncd.errors import Invalid, NotFound, Unavailable
from syncd.registry.bucket_objects import (
    ObjectSource,
    SeenObject,
    checksum_of,
    is_leftover,
    key_of,
    open_pinned,
    remote_of,
    version_objects,
    with_hint,
)
from syncd.registry.listing_cache import (
    FILES_HINT,
    FILES_MAX,
    Files,
    Remote,
    check_unchanged,
    files_of,
    natural_order,
    tree_digest,
    version_name,
)
from syncd.registry.pinned import ListedRegistry
from syncd.registry.settings import PaiSettings
from syncd.values.source import Location, Revision, Stream
from syncd.values.times import parse_time

APPROVED: Final = "Approved"
_WAITS_HINT: Final = "approve it in the workspace"
_PLACE: Final = re.compile(
    r"oss://(?P<bucket>[a-z0-9][a-z0-9-]{1,61}[a-z0-9])\.oss-(?P<region>[a-z0-9-]+?)(-internal)?\.aliyuncs\.com/(?P<key>.+)"
)


@dataclass(frozen=True, slots=True)
class Registered:
    """A version in the workspace; `made_at` only determines the order."""

    name: str
    uri: str
    status: str
    made_at: str


class Workspace(Protocol):
    """Read access to a workspace. All methods raise Unavailable and Refused."""

    def models(self, name: str | None = None) -> Iterator[tuple[str, str]]:
        """The name and id of every model, or of those that a search for `name` finds; it may find other names too."""
        ...

    def approved(self, model_id: str) -> Iterator[Registered]:
        """The approved versions of a model."""
        ...

    def version(self, model_id: str, name: str) -> Registered:
        """One version, of any status. Raises NotFound."""
        ...


class PaiRegistry(ListedRegistry):
    """Approved versions of a workspace. Only reads; safe from several threads."""

    def __init__(self, settings: PaiSettings, workspace: Workspace, bucket: Callable[[str], ObjectSource]) -> None:
        """`bucket` returns the objects of a bucket in the region, by its name."""
        super().__init__(settings.models)
        self._settings = settings
        self._workspace = workspace
        self._bucket = bucket

    def location_of(self, model: ModelName, revision: Revision, path: FilePath) -> Location:
        """See `registry.base.Registry`."""
        bucket, found = _split(self._find(model, revision, path))
        return Location(self._settings.region, bucket, key_of(found))

    def _models(self) -> Iterator[ModelName]:
        return self._selected(dict(self._workspace.models()))

    def _versions(self, model: ModelName) -> list[VersionName]:
        """The approved versions in this region, the oldest first."""
        aged = []
        for row in self._workspace.approved(self._id(model)):
            try:
                name = version_name(row.name)
                self._place(row, f"{model}@{name}")
                aged.append((self._made_at(row, f"{model}@{name}"), natural_order(name), name))
            except Invalid as error:
                self._refusals.warn(f"{model}@{row.name}", error, error.hint)
        return [name for _, _, name in sorted(aged)]

    def _made_at(self, row: Registered, what: str) -> float:
        """The creation time of a version, in seconds since 1970. One without a valid time is the oldest."""
        made = parse_time(row.made_at)
        if made is None:
            self._refusals.warn(
                what, Invalid(f"GmtCreateTime: expected an RFC 3339 time, got {row.made_at[:80]!r}: ignored")
            )
            return -math.inf
        return made.timestamp()

    def _resolve(self, model: ModelName, ref: VersionName | None) -> Revision:
        """A ref is a version's name; the newest is the approved one that was created last."""
        if ref is None:
            versions = self._versions(model)
            if not versions:
                raise Unavailable(f"{model} has no approved version", hint=_WAITS_HINT)
            ref = versions[-1]
        return self._keep(model, self._pinned(model, ref))

    def _fetch_files(self, model: ModelName, revision: Revision) -> Files:
        now, files = self._pinned(model, revision.version)
        check_unchanged(model, revision, now)
        return files

    def _open(
        self, model: ModelName, revision: Revision, found: Remote, offset_bytes: int, until_bytes: int | None
    ) -> Stream:
        """The object's size and checksum must be the pinned ones."""
        del model, revision
        bucket, there = _split(found)
        return open_pinned(self._bucket(bucket), there, offset_bytes, until_bytes)

    def _id(self, model: ModelName) -> str:
        found = {identity for name, identity in self._workspace.models(model) if name == model}
        if not found:
            raise NotFound(f"the workspace has no model {model}")
        if len(found) > 1:
            raise Invalid(f"the workspace has {len(found)} models called {model}", hint="rename all but one")
        return found.pop()

    def _pinned(self, model: ModelName, version: VersionName) -> tuple[Revision, Files]:
        what = f"{model}@{version}"
        row = self._workspace.version(self._id(model), version)
        if row.status == "Rejected":
            raise Invalid(f"{what} was rejected in the workspace", hint="publish an approved version")
        if row.status != APPROVED:
            raise Unavailable(f"{what} has status {row.status[:40] or 'none'} in the workspace", hint=_WAITS_HINT)
        bucket, prefix = self._place(row, what)
        objects = self._bucket(bucket)
        with with_hint():
            found = _below(objects, prefix, what)
            remotes = (remote_of(objects, path, seen, None) for path, seen in found.items())
            files = files_of((replace(each, url=f"{bucket}/{each.url}") for each in remotes), what)
        return Revision(version, tree_digest(files, checksum_of)), files

    def _place(self, row: Registered, what: str) -> tuple[str, str]:
        """The bucket and the prefix. Raises Invalid: it is in another region, or not in a bucket."""
        match = _PLACE.fullmatch(row.uri)
        if match is None:
            hint = "expected oss://<bucket>.oss-<region>.aliyuncs.com/<prefix>/"
            raise Invalid(f"{what} is at {row.uri[:200]!r}, which is not a prefix of a bucket", hint=hint)
        if match["region"] != self._settings.region:
            raise Invalid(f"{what} is in {match['region']}, the registry's region is {self._settings.region}")
        return match["bucket"], f"{parse_path(match['key'].removesuffix('/'))}/"


def _split(found: Remote) -> tuple[str, Remote]:
    """The bucket of a file, and the file within it."""
    bucket, _, url = found.url.partition("/")
    return bucket, replace(found, url=url)


def _below(objects: ObjectSource, prefix: str, what: str) -> dict[str, SeenObject]:
    """The distributed objects below a prefix by path, without directory markers and leftovers."""
    found = {}
    for seen in version_objects(objects, prefix, what):
        path = seen.key[len(prefix) :]
        if path and not path.endswith("/") and not is_leftover(path):
            found[path] = seen
        if len(found) > FILES_MAX:
            raise Invalid(f"{what} has more than {FILES_MAX} files", hint=FILES_HINT)
    if not found:
        raise Unavailable(f"{what} was approved and has no files", hint="upload them to its address")
    return found
