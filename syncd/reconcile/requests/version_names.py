"""Resolution of the name of a version as a person or a pipeline writes it: `sdxl@v2`, `sdxl-v2`, or `sdxl` alone."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from syncd.artifact.names import ModelName, VersionName, parse_model, parse_model_at_version, parse_version
from syncd.errors import Invalid, NotFound, Refused, Unavailable
from syncd.plan.topology import Topology
from syncd.reconcile.context import World
from syncd.state.content import versions

SEPARATORS: Final = "-:/_"
LATEST: Final = "latest"  # the ref of the newest version in every registry
NAME_MAX: Final = 225  # MODEL_MAX, a separator, VERSION_MAX
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+/:-]*")
_LISTED_MAX: Final = 10
_SHOWN_MAX: Final = 120


@dataclass(frozen=True, slots=True)
class NamedVersion:
    """What a name stands for."""

    model: ModelName
    version: VersionName

    def __str__(self) -> str:
        return f"{self.model}@{self.version}"


def named_version(world: World, name: str) -> NamedVersion:
    """What `name` stands for: `MODEL@VERSION`, a model's newest version, or MODEL and VERSION with a separator.

    Without `@` it is the served model of exactly that name, and its newest version. Else it is split at each of
    `-`, `:`, `/` and `_`: the left side has to be a served model, the right side a version that its registry, or the
    record, has.

    Raises:
        Invalid: Two splits fit, or the names around `@` are not allowed.
        NotFound: No model or no version fits; the message has what there is and the nearest name.
        Unavailable: A registry that decides it does not answer.
    """
    if "@" in name:
        return NamedVersion(*parse_model_at_version(name))
    _check(name)
    if name in world.topology.models():
        return _newest(world, parse_model(name))
    splits = list(splits_of(world.topology, name))
    if not splits:
        raise _unknown_model(world.topology, name)
    found = {str(each): each for split in splits if (each := _found(world, split, is_only=len(splits) == 1))}
    if not found:
        raise unknown_version(world, splits[-1].model, splits[-1].version)
    if len(found) > 1:
        raise Invalid(
            f"{_shown(name)} is {' or '.join(sorted(found))}",
            hint="write MODEL@VERSION to say which",
        )
    return next(iter(found.values()))


def new_version(topology: Topology, name: str) -> NamedVersion:
    """What `name` stands for where the version is about to be made: the longest served model on the left.

    Raises:
        Invalid: It is a model's name alone, or the right side is not a name of a version.
        NotFound: It begins with no served model.
    """
    if "@" in name:
        return NamedVersion(*parse_model_at_version(name))
    _check(name)
    if name in topology.models():
        raise Invalid(f"{_shown(name)} is a model: a new version needs a name", hint=f"write {name}@VERSION")
    splits = list(splits_of(topology, name))
    if not splits:
        raise _unknown_model(topology, name)
    return splits[-1]


def splits_of(topology: Topology, name: str) -> Iterator[NamedVersion]:
    """Each split of a name with a served model on the left and a possible version on the right, shortest first."""
    served = set(topology.models())
    for at, character in enumerate(name):
        if character in SEPARATORS and name[:at] in served:
            try:
                yield NamedVersion(parse_model(name[:at]), parse_version(name[at + 1 :]))
            except Invalid:
                continue


def unknown_version(world: World, model: ModelName, version: str) -> NotFound:
    """The error for a version that the registry does not have: what it has, and the nearest name."""
    registry = world.topology.registry_of(model)
    try:
        known = [each.version for each in world.registries[registry].discover(model)]
    except (Unavailable, Refused, Invalid, NotFound):
        known = []
    newest_first = list(dict.fromkeys(reversed(known)))
    listed = choices(version, newest_first, "versions there", f"{model}@")
    hint = f"{listed}; `syncd versions {model}` lists them"
    return NotFound(f"registry {registry} has no version {model}@{version}", hint=hint)


def choices(name: str, known: Sequence[str], label: str, before: str = "") -> str:
    """The nearest of the known names, and the first of all of them."""
    shown = ", ".join(known[:_LISTED_MAX]) or "none"
    more = f" and {len(known) - _LISTED_MAX} more" if len(known) > _LISTED_MAX else ""
    return f"{_nearest(name, known, before)}{label}: {shown}{more}"


def unknown_model(topology: Topology, model: str) -> NotFound:
    """The error for a model that no binding serves: those that are, and the nearest name."""
    known = topology.models()
    listed = ", ".join(sorted(known)) or "none"
    return NotFound(
        f"no binding serves the model {model!r}", hint=f"{_nearest(model, known)}models with bindings: {listed}"
    )


def _unknown_model(topology: Topology, name: str) -> NotFound:
    known = topology.models()
    starts = [name, *(name[:at] for at, character in enumerate(name) if character in SEPARATORS)]
    near = next((found for start in starts if (found := _nearest(start, known))), "")
    listed = ", ".join(sorted(known)) or "none"
    return NotFound(
        f"no binding serves a model that {_shown(name)} is or begins with", hint=f"{near}models with bindings: {listed}"
    )


def _check(name: str) -> None:
    if len(name) > NAME_MAX or not _NAME.fullmatch(name):
        raise Invalid(f"{_shown(name)} is not a name of a version", hint="write MODEL@VERSION, for example sdxl@v2")


def _nearest(name: str, known: Sequence[str], before: str = "") -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)  # v3 is half of v2
    return f"did you mean {before}{near[0]}? " if near else ""


def _newest(world: World, model: ModelName) -> NamedVersion:
    registry = world.topology.registry_of(model)
    try:
        return NamedVersion(model, world.registries[registry].resolve(model, LATEST).version)
    except NotFound as error:
        hint = f"`syncd versions {model}` lists what it shows; add a version there first"
        raise NotFound(f"registry {registry} has no version of {model}: {error.message}", hint=hint) from error


def _found(world: World, split: NamedVersion, *, is_only: bool) -> NamedVersion | None:
    """The version if there is one.

    A release waits for a version that is incomplete and for a registry that is silent: the only split passes then.
    """
    registry = world.topology.registry_of(split.model)
    try:
        revision = world.registries[registry].resolve(split.model, split.version)
    except NotFound:
        return None
    except Unavailable:
        if is_only or _is_recorded(world, split):
            return split
        raise
    return NamedVersion(split.model, revision.version)


def _is_recorded(world: World, split: NamedVersion) -> bool:
    with world.state.read() as conn:
        return versions.find(conn, split.model, split.version) is not None


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 1] + "…")
