"""What of the world is not as recorded, in words: where an alias points, what it sends elsewhere, what LATEST has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from syncd.values.function import AliasState, Change, Mount

ALIAS: Final = "alias"
WEIGHTS: Final = "weights"
NO_ALIAS: Final = "no alias"
NOTHING: Final = "nothing"
IMAGE: Final = "image"
FUNCTION_VERSION: Final = "function version"
DELETED: Final = "deleted"


class DriftPolicy(StrEnum):
    """What is done about a hand-made change, beside telling of it."""

    REPORT = "report"
    ADOPT = "adopt"  # the record follows the world, where it is a version that was proven
    RESTORE = "restore"  # the world follows the record


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as recorded."""

    what: str
    got: str
    want: str

    @property
    def is_of_alias(self) -> bool:
        """Whether it is about what serves, and not about what the next function version would be made of."""
        return self.what in {ALIAS, WEIGHTS, FUNCTION_VERSION}


def alias_differences(want: str | None, got: AliasState) -> tuple[Difference, ...]:
    """Where an alias is not wholly at the function version `want` (None: there should be no alias)."""
    found = []
    if got.function_version != want:
        found.append(Difference(ALIAS, got.function_version or NO_ALIAS, want or NO_ALIAS))
    if got.weights:
        shares = ", ".join(f"{weight:.4g} to {version}" for version, weight in sorted(got.weights.items()))
        found.append(Difference(WEIGHTS, shares, NOTHING))
    return tuple(found)


def version_deleted(want: str) -> Difference:
    """The function version that an alias is to be at is not there any more."""
    return Difference(FUNCTION_VERSION, DELETED, want)


def latest_differences(want: Change, got: Change) -> tuple[Difference, ...]:
    """Where LATEST's image, mounts and variables, as far as they are ours, are not those that were staged last."""
    return (*_image(want, got), *_mounts(want, got), *_variables(want, got))


def _image(want: Change, got: Change) -> Iterator[Difference]:
    if want.image and got.image != want.image:
        yield Difference(IMAGE, got.image or NOTHING, want.image)


def _mounts(want: Change, got: Change) -> Iterator[Difference]:
    there = {mount.mount_dir: mount for mount in got.mounts}
    for mount in want.mounts:
        found = there.get(mount.mount_dir)
        if found != mount:
            yield Difference(f"mount {mount.mount_dir}", NOTHING if found is None else _shown(found), _shown(mount))


def _variables(want: Change, got: Change) -> Iterator[Difference]:
    for name, value in sorted(want.environment.items()):
        found = got.environment.get(name)
        if found != value:
            yield Difference(f"variable {name}", NOTHING if found is None else found, value)


def _shown(mount: Mount) -> str:
    at = f" by {mount.endpoint}" if mount.endpoint else ""
    return f"{mount.kind.value} {mount.source}:{mount.path}{at}"
