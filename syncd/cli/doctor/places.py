"""Checks of the places: registries, targets, functions, and the images that are built over."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from syncd.artifact.names import parse_model
from syncd.cli.doctor.checkup import Check, CheckResult, of_error
from syncd.config import Config, NasTargetSettings, OssTargetSettings
from syncd.errors import NotFound, Refused, SyncdError
from syncd.plan.binding import Binding
from syncd.reconcile.context import World
from syncd.wiring_stores import bucket_facts

NOTES: Final = "doctor"
FREE_MIN_SHARE: Final = 0.05
INODES_MIN: Final = 10_000
UPLOADS_DAYS_MIN: Final = 3  # a copy that a night interrupts goes on where it was
_MOUNTS: Final = Path("/proc/self/mounts")
_READ_BACK: Final = "it does not return what was written"


def checks(config: Config, world: World) -> Iterator[Check]:
    """The checks of registries, targets and functions."""
    for name in config.registries:
        yield Check("registry", name, partial(_registry, world, name))
    for name, target in config.targets.items():
        if name in world.targets:
            yield Check("target", name, partial(_round_trip, world, name))
        if isinstance(target, OssTargetSettings):
            yield Check("bucket", name, partial(_bucket, config, name, target))
        if isinstance(target, NasTargetSettings):
            yield Check("nas", name, partial(_nas, name, target))
        if name in world.images:
            yield Check("image", name, partial(_image, world, name))
    for name, binding in world.topology.bindings.items():
        yield Check("function", name, partial(_function, world, binding))


def _registry(world: World, name: str) -> Iterator[CheckResult]:
    """It answers, and shows a version of a model that is served from it."""
    served = [model for model in world.topology.models() if world.topology.registry_name(model) == name]
    registry = world.registries[name]
    if not served:
        yield CheckResult("registry", name, "no binding serves a model of it", "correct its `models`", "warning")
        return
    shown = [model for model in served if registry.discover(parse_model(model))]
    if not shown:
        cure = "check its address, the names of the models, `follow` and the rights of its user"
        what = f"it shows no version of {', '.join(served[:3])}"
        yield CheckResult("registry", name, what, cure, "warning")


def _round_trip(world: World, name: str) -> Iterator[CheckResult]:
    """Writing without replacing, listing, reading and deleting, with a document of this check's own."""
    target, document = world.targets[name], secrets.token_hex(8)
    target.put_note(NOTES, document, document.encode())
    try:
        found = dict(target.notes(NOTES))
        if found.get(document) != document.encode():
            yield CheckResult("target", name, _READ_BACK, "check what stands between this machine and the store")
    finally:
        target.delete_note(NOTES, document)
    next(iter(target.sealed()), None)


def _bucket(config: Config, name: str, settings: OssTargetSettings) -> Iterator[CheckResult]:
    """What the bucket reports of itself. A user who may not ask gets a warning: syncd works without that right."""
    try:
        facts = bucket_facts(config, name)
    except Refused as error:
        cure = "grant oss:GetBucketInfo and oss:GetBucketLifecycle to check region, versioning and lifecycle rules"
        yield CheckResult("bucket", name, f"its settings cannot be read: {error.message}", cure, "warning")
        return
    assert facts is not None
    if facts.region and facts.region != settings.region:
        cure = f"set region and endpoint of targets.{name} to those of the bucket"
        yield CheckResult("bucket", name, f"it is in {facts.region}, the configuration says {settings.region}", cure)
    if facts.versioning:
        what = f"its versioning is {facts.versioning}: OSS then ignores that an object must not be overwritten"
        yield CheckResult("bucket", name, what, "use a bucket that never had versioning")
    prefix = settings.prefix
    for rule in facts.rules:
        if not rule.reaches(prefix):
            continue
        said = f"its lifecycle rule {rule.name or rule.prefix or 'for all objects'}"
        if rule.deletes:
            yield CheckResult("bucket", name, f"{said} deletes objects of models", "remove it, or exclude the prefix")
        if rule.archives:
            yield CheckResult("bucket", name, f"{said} archives objects: functions cannot read them", "remove it")
        days = rule.aborts_uploads_after_days
        if days is not None and days < UPLOADS_DAYS_MIN:
            cure = f"let it wait {UPLOADS_DAYS_MIN} days or more"
            yield CheckResult("bucket", name, f"{said} ends uploads after {days} days", cure, "warning")


def _nas(name: str, settings: NasTargetSettings) -> Iterator[CheckResult]:
    """Space, inodes, and the export that is mounted. Whether it can be written is checked by the target."""
    with suppress(OSError):  # a path that is missing is a finding of the target
        found = os.statvfs(settings.path)
        free = found.f_bavail / found.f_blocks if found.f_blocks else 1.0
        if free < FREE_MIN_SHARE:
            what = f"{free:.1%} of its space is free, expected {FREE_MIN_SHARE:.0%} or more"
            yield CheckResult("nas", name, what, "retire versions, or enlarge it")
        if found.f_files and found.f_favail < INODES_MIN:
            what = f"{found.f_favail} inodes are free, expected {INODES_MIN} or more"
            yield CheckResult("nas", name, what, "delete files, or enlarge it")
    mounted, wanted = export_of(settings.path), f"{settings.server}:{settings.server_path}"
    if mounted is not None and mounted.rstrip("/") != wanted.rstrip("/"):
        cure = f"mount {wanted} at {settings.path}, or correct server and server_path of targets.{name}"
        yield CheckResult("nas", name, f"{settings.path} is on {mounted}, functions mount {wanted}", cure)


def export_of(path: Path, mounts: Path = _MOUNTS) -> str | None:
    """The NFS export that a path lies on with its directory in it; None where it is not on NFS."""
    best: tuple[int, str, Path] | None = None
    with suppress(OSError):
        for line in mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            source, point, kind, *_ = line.split(" ")
            directory = Path(point.replace("\\040", " "))
            if path.is_relative_to(directory) and (best is None or len(directory.parts) >= best[0]):
                best = (len(directory.parts), source if kind.startswith("nfs") else "", directory)
    if best is None or not best[1]:
        return None
    below = path.relative_to(best[2]).as_posix()
    return best[1] if below == "." else f"{best[1].rstrip('/')}/{below}"


def _image(world: World, name: str) -> Iterator[CheckResult]:
    """Its base can be pulled. A replicated target has none."""
    target = world.images[name]
    if target.settings.base is not None:
        target.base()
    yield from ()


def _function(world: World, binding: Binding) -> Iterator[CheckResult]:
    """The function exists and may be read."""
    check = Check("function", binding.name, lambda: iter(()))
    where = f"{binding.function} in {world.topology.regions[binding.runtime]}"
    try:
        state = world.runtimes[binding.runtime].read(binding.function, binding.alias)
    except NotFound as error:
        cure = error.hint or "create the function; syncd publishes versions of it and moves its alias"
        yield CheckResult("function", binding.name, f"{where} does not exist", cure)
        return
    except SyncdError as error:
        yield of_error(check, error)
        return
    if binding.candidate == binding.alias:
        yield CheckResult("function", binding.name, "the candidate alias is the one of callers", "name another one")
    if state.weights:
        what = f"{binding.alias} of {where} sends shares of its traffic to other versions"
        yield CheckResult("function", binding.name, what, "syncd drift", "warning")
