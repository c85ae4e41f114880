"""Checks of image targets and of the functions that run their images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from syncd.config.fields import shown
from syncd.config.problems import KeyPart, Problem, key_path
from syncd.config.values import BindingSettings, Config, ImageTargetSettings, ServedModelSettings

Declared = Mapping[str, frozenset[str]]
_LEAVE_OUT: Final = "leave it out: an image target has no mount"


def image_problems(config: Config, declared: Declared) -> Iterator[Problem]:
    """Every problem of image targets and of the models that are served from them."""
    del declared
    for name, target in config.targets.items():
        if isinstance(target, ImageTargetSettings):
            if target.user and target.password is None:
                yield Problem(key_path("targets", name, "password"), "nothing", "expected a password beside `user`")
            yield from _base(name, target)
    for name, binding in sorted(config.bindings.items()):
        for index, served in enumerate(binding.models):
            yield from _mounted(config, served, ("bindings", name, "models", index))
        yield from _one_image(config, name, binding)
        yield from _hidden(config, name, binding)
    yield from _beside(config)


def directory_of(config: Config, served: ServedModelSettings) -> str:
    """The directory of a model in a function; "" if no setting gives it."""
    target = config.targets.get(served.target)
    return target.directory_of(served.model) if isinstance(target, ImageTargetSettings) else served.mount_dir or ""


def is_image(config: Config, served: ServedModelSettings) -> bool:
    """Whether a model is served from the function's own image."""
    return isinstance(config.targets.get(served.target), ImageTargetSettings)


def _base(name: str, target: ImageTargetSettings) -> Iterator[Problem]:
    """A replicated target has no base of its own, and a base with a digest never changes."""
    if target.mode == "replicated":
        given = {"base": target.base, "base_watch": None if target.base_watch == "off" else target.base_watch}
        for key, value in given.items():
            if value is not None:
                advice = f"leave it out: images come as they are from targets.{target.replicated_from}"
                yield Problem(key_path("targets", name, key), shown(value), advice)
    elif target.base is None:
        yield Problem(key_path("targets", name, "base"), "nothing", "this setting is required")
    elif target.base_watch != "off" and "@" in target.base:
        advice = 'expected "off": a base that is named by its digest never changes'
        yield Problem(key_path("targets", name, "base_watch"), shown(target.base_watch), advice)


def _mounted(config: Config, served: ServedModelSettings, where: tuple[KeyPart, ...]) -> Iterator[Problem]:
    if not is_image(config, served):
        if served.mount_dir is None:
            yield Problem(key_path(*where, "mount_dir"), "nothing", "this setting is required")
        return
    if served.mount_dir is not None:
        advice = f"leave it out: targets.{served.target}.directory is where the files are in the image"
        yield Problem(key_path(*where, "mount_dir"), shown(served.mount_dir), advice)
    if served.mount != "version":
        yield Problem(key_path(*where, "mount"), shown(served.mount), _LEAVE_OUT)


def _one_image(config: Config, name: str, binding: BindingSettings) -> Iterator[Problem]:
    mine = [index for index, served in enumerate(binding.models) if is_image(config, served)]
    for index in mine[1:]:
        advice = f"models[{mine[0]}] is in an image already, and a function has one: use a bucket or a NAS"
        yield Problem(
            key_path("bindings", name, "models", index, "target"), shown(binding.models[index].target), advice
        )


def _hidden(config: Config, name: str, binding: BindingSettings) -> Iterator[Problem]:
    """A mount at or above the directory in the image would hide the model; one within it would change it."""
    for image in [served for served in binding.models if is_image(config, served)]:
        place = f"{directory_of(config, image)}/"
        for index, served in enumerate(binding.models):
            mounted = f"{served.mount_dir}/"
            if served.mount_dir and not is_image(config, served) and _overlap(place, mounted):
                advice = f'{shown(image.model)} is at "{place[:-1]}" in the image: use a directory beside it'
                yield Problem(key_path("bindings", name, "models", index, "mount_dir"), shown(served.mount_dir), advice)


def _overlap(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def _beside(config: Config) -> Iterator[Problem]:
    """Bindings of one function share its image: one without an image would get that of another."""
    first: dict[tuple[str, str], tuple[str, bool]] = {}
    for name, binding in sorted(config.bindings.items()):
        has_image = any(is_image(config, served) for served in binding.models)
        rival, rivals = first.setdefault((binding.runtime, binding.function), (name, has_image))
        if rivals != has_image:
            gives = "an image" if rivals else "no image"
            advice = f"bindings.{rival} gives that function {gives}: all of its bindings must, or none"
            yield Problem(key_path("bindings", name, "function"), shown(binding.function), advice)
