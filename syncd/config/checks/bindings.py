"""Checks of bindings: mounts, variables and the image of a function, and which binding moves an alias."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Final

from syncd.artifact.names import VERSION_MAX
from syncd.config.fields import shown
from syncd.config.probes import body_file_problem
from syncd.config.problems import KeyPart, Problem, key_path, no_such
from syncd.config.targets import ImageTargetSettings, NasTargetSettings
from syncd.config.values import BindingSettings, Config, ServedModelSettings, VariableSettings
from syncd.plan.binding import ENVIRONMENT_MAX_BYTES, environment_bytes, versions_text

Declared = Mapping[str, frozenset[str]]

_LEAVE_OUT: Final = "leave it out: an image target has no mount"
MOUNTS_MAX: Final = 5  # of each kind, for one function
_SYSTEM: Final = {
    "nas": ("/bin/", "/opt/", "/var/", "/dev/", "/proc/", "/sys/", "/etc/", "/usr/"),
    "oss": ("/bin/", "/opt/", "/var/", "/dev/", "/proc/", "/sys/", "/etc/", "/usr/", "/tmp/"),  # noqa: S108 - a name, not a use
}


def binding_problems(config: Config, declared: Declared) -> Iterator[Problem]:
    """Every problem of the bindings, in the order of their names, then the problems between two bindings."""
    for name, binding in _by_name(config.bindings):
        yield from _runtime(config, declared, name, binding)
        yield from _aliases(name, binding)
        yield from _models(config, declared, name, binding)
        yield from _mount_dirs(config, name, binding)
        yield from _mount_count(config, name, binding)
        yield from _variables(name, binding)
        yield from _variables_size(config, name, binding)
        yield from _requests(name, binding)
    yield from _shared_aliases(config)


def _runtime(config: Config, declared: Declared, name: str, binding: BindingSettings) -> Iterator[Problem]:
    del config
    if binding.runtime not in declared["runtimes"]:
        yield no_such(key_path("bindings", name, "runtime"), binding.runtime, "runtime", declared["runtimes"])


def _aliases(name: str, binding: BindingSettings) -> Iterator[Problem]:
    for field in ("alias", "candidate", "previous"):
        if getattr(binding, field).upper() == "LATEST":
            advice = "expected another name: LATEST is the platform's own"
            yield Problem(key_path("bindings", name, field), shown(getattr(binding, field)), advice)
    if binding.candidate == binding.alias:
        advice = "expected an alias other than the binding's own: it points at versions that are not probed yet"
        yield Problem(key_path("bindings", name, "candidate"), shown(binding.candidate), advice)
    if binding.rollback_warm and not binding.warm:
        advice = "expected `warm` beside it: the number of prewarmed instances"
        yield Problem(key_path("bindings", name, "rollback_warm"), f"{binding.rollback_warm:g} s", advice)
    if binding.rollback_warm and binding.previous in {binding.alias, binding.candidate}:
        advice = "expected an alias other than these two: it keeps the version before prewarmed"
        yield Problem(key_path("bindings", name, "previous"), shown(binding.previous), advice)


def _models(config: Config, declared: Declared, name: str, binding: BindingSettings) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index, served in enumerate(binding.models):
        where: tuple[KeyPart, ...] = ("bindings", name, "models", index)
        if served.model in seen:
            advice = f"models[{seen[served.model]}] has it already: a binding serves a model once"
            yield Problem(key_path(*where, "model"), shown(served.model), advice)
        seen.setdefault(served.model, index)
        if served.target not in declared["targets"]:
            yield no_such(key_path(*where, "target"), served.target, "target", declared["targets"])
        yield from _region(config, binding, served, where)
        yield from _version_list(served.mount, served.env, where)
        yield from _system_directory(config, served, where)


def _region(
    config: Config, binding: BindingSettings, served: ServedModelSettings, where: tuple[KeyPart, ...]
) -> Iterator[Problem]:
    target, runtime = config.targets.get(served.target), config.runtimes.get(binding.runtime)
    if target and runtime and target.region != runtime.region:
        advice = f'that target is in "{target.region}": use one in "{runtime.region}", where the function is'
        yield Problem(key_path(*where, "target"), shown(served.target), advice)


def _version_list(mount: str, env: VariableSettings, where: tuple[KeyPart, ...]) -> Iterator[Problem]:
    if mount == "root":
        if env.versions is None:
            advice = 'expected the variable that lists the versions, with mount = "root"'
            yield Problem(key_path(*where, "env", "versions"), "nothing", advice)
    elif env.versions is not None:
        advice = 'leave it out: it goes with mount = "root"'
        yield Problem(key_path(*where, "env", "versions"), shown(env.versions), advice)


def _system_directory(config: Config, served: ServedModelSettings, where: tuple[KeyPart, ...]) -> Iterator[Problem]:
    target = config.targets.get(served.target)
    systems = _SYSTEM.get(target.kind, ()) if target else ()
    directory = f"{served.mount_dir}/"
    if directory.startswith(systems):
        system = next(each for each in systems if directory.startswith(each))
        advice = f"{system.rstrip('/')} is the system's own: use a directory below /mnt, /data or /home"
        yield Problem(key_path(*where, "mount_dir"), shown(served.mount_dir), advice)


def _mount_dirs(config: Config, name: str, binding: BindingSettings) -> Iterator[Problem]:
    for (one, first), (other, second) in combinations(enumerate(binding.models), 2):
        if first.mount_dir is None or second.mount_dir is None:
            continue
        key = key_path("bindings", name, "models", other, "mount_dir")
        found = shown(second.mount_dir)
        shared = first.mount == second.mount == "root" and first.target == second.target
        if shared and first.mount_dir != second.mount_dir:
            advice = f"models[{one}] mounts that target's root at {shown(first.mount_dir)}: use the same"
            yield Problem(key, found, advice)
        elif not shared and (_inside(first.mount_dir, second.mount_dir) or _inside(second.mount_dir, first.mount_dir)):
            advice = f"models[{one}] mounts at {shown(first.mount_dir)}: use a directory beside it"
            yield Problem(key, found, advice)
    del config


def _inside(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory + "/")


def _mount_count(config: Config, name: str, binding: BindingSettings) -> Iterator[Problem]:
    kinds: dict[str, set[tuple[str, str]]] = {"OSS": set(), "NAS": set()}
    for served in binding.models:
        target = config.targets.get(served.target)
        if target and served.mount_dir is not None and not is_image(config, served):
            kind = "NAS" if isinstance(target, NasTargetSettings) else "OSS"
            kinds[kind].add((served.target, served.mount_dir))
    for kind, mounts in kinds.items():
        if len(mounts) > MOUNTS_MAX:
            advice = f'a function has at most {MOUNTS_MAX}: use mount = "root" for models of one target'
            yield Problem(key_path("bindings", name, "models"), f"{len(mounts)} {kind} mounts", advice)


def _variables(name: str, binding: BindingSettings) -> Iterator[Problem]:
    """Reserved and duplicate names. `versions` is one variable for all root mounts that name it."""
    seen: dict[str, tuple[int, str]] = {}
    for index, served in enumerate(binding.models):
        for field in VariableSettings.model_fields:
            variable = getattr(served.env, field)
            if variable is None:
                continue
            key: tuple[KeyPart, ...] = ("bindings", name, "models", index, "env", field)
            if variable.upper().startswith("FC_"):
                yield Problem(key_path(*key), shown(variable), "expected another name: FC_ is the platform's own")
            first = seen.setdefault(variable, (index, field))
            if first != (index, field) and not field == first[1] == "versions":
                advice = f"{key_path('models', first[0], 'env', first[1])} sets it already: use another name"
                yield Problem(key_path(*key), shown(variable), advice)


def _variables_size(config: Config, name: str, binding: BindingSettings) -> Iterator[Problem]:
    """Calculated with the longest version names, so that no release is refused for it later."""
    longest = "v" * (VERSION_MAX + len("-") + 12)
    environment: dict[str, str] = {}
    roots: dict[str, dict[str, dict[str, str]]] = {}
    for served in binding.models:
        path = directory_of(config, served)
        path = path if served.mount == "version" else f"{path}/{served.model}/{longest}"
        values = {served.env.digest: "0" * 64, served.env.path: path, served.env.version: longest[:VERSION_MAX]}
        environment.update({variable: value for variable, value in values.items() if variable is not None})
        if served.mount == "root" and served.env.versions is not None:
            roots.setdefault(served.env.versions, {})[served.model] = {"digest": "0" * 64, "path": path}
    environment.update({variable: versions_text(root) for variable, root in roots.items()})
    size_bytes = environment_bytes(environment)
    if size_bytes > ENVIRONMENT_MAX_BYTES:
        found = f"{len(binding.models)} models, whose variables may need {size_bytes} bytes"
        advice = f"a function has {ENVIRONMENT_MAX_BYTES} bytes for variables: split them over two functions"
        yield Problem(key_path("bindings", name, "models"), found, advice)


def _requests(name: str, binding: BindingSettings) -> Iterator[Problem]:
    """Requests with duplicate names or unreadable files, found now and not when a release is probed."""
    seen: set[str] = set()
    for index, golden in enumerate(binding.probe.golden):
        where: tuple[KeyPart, ...] = ("bindings", name, "probe", "golden", index)
        if golden.name in seen:
            yield Problem(key_path(*where, "name"), shown(golden.name), "another has it already")
        seen |= {golden.name} if golden.name else set()
        wrong = body_file_problem(golden.body_file) if golden.body_file else ""
        if wrong:
            yield Problem(key_path(*where, "body_file"), shown(str(golden.body_file)), wrong)


def _shared_aliases(config: Config) -> Iterator[Problem]:
    """Two bindings that move one alias, or one that moves the other's candidate."""
    seen: dict[tuple[str, str, str], str] = {}
    for name, binding in _by_name(config.bindings):
        runtime = config.runtimes.get(binding.runtime)
        holder = runtime.endpoint.lower() if runtime else binding.runtime
        for field in ("alias", "candidate", *(("previous",) if binding.rollback_warm else ())):
            alias = getattr(binding, field)
            rival = seen.setdefault((holder, binding.function, alias), name)
            if rival != name:
                advice = f'bindings.{rival} moves that alias of function "{binding.function}" too: only one may'
                yield Problem(key_path("bindings", name, field), shown(alias), advice)


def _by_name(tables: Mapping[str, BindingSettings]) -> Iterator[tuple[str, BindingSettings]]:
    """Compared by names alone: a tenth of the time that pairs take."""
    return ((name, tables[name]) for name in sorted(tables))


def image_problems(config: Config, declared: Declared) -> Iterator[Problem]:
    """Every problem of image targets and of the models that are served from them."""
    del declared
    for name, target in config.targets.items():
        if isinstance(target, ImageTargetSettings):
            if target.user and target.password is None:
                yield Problem(key_path("targets", name, "password"), "nothing", "expected a password beside `user`")
            yield from _base(name, target)
    for name, binding in _by_name(config.bindings):
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
    for name, binding in _by_name(config.bindings):
        has_image = any(is_image(config, served) for served in binding.models)
        rival, rivals = first.setdefault((binding.runtime, binding.function), (name, has_image))
        if rivals != has_image:
            gives = "an image" if rivals else "no image"
            advice = f"bindings.{rival} gives that function {gives}: all of its bindings must, or none"
            yield Problem(key_path("bindings", name, "function"), shown(binding.function), advice)
