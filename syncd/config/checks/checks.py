"""Checks between tables: names that do not exist, two writers of one location, regions that differ."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from typing import Final

from syncd.artifact.manifest import MODELS_DIRECTORY
from syncd.artifact.parts import PART_BYTES
from syncd.config.checks.bindings import binding_problems, image_problems
from syncd.config.checks.safety import safety_warnings
from syncd.config.checks.weak import weak_settings
from syncd.config.fields import shown
from syncd.config.problems import Problem, key_path, no_such
from syncd.config.registries import (
    ANY_MODEL,
    WAYS,
    MlflowRegistrySettings,
    OciRegistrySettings,
    OssRegistrySettings,
    PaiRegistrySettings,
)
from syncd.config.retention import retention_warnings
from syncd.config.strategies import strategy_problems
from syncd.config.targets import ImageTargetSettings, NasTargetSettings, OssTargetSettings, TargetSettings
from syncd.config.values import Config
from syncd.plan.topology import NEAREST, REGISTRY
from syncd.secret import Secret
from syncd.values.patterns import overlap, selects

Declared = Mapping[str, frozenset[str]]
Rule = Callable[[Config, Declared], Iterator[Problem]]

_OSS_HOST: Final = re.compile(r"https?://oss-([a-z0-9-]+?)(-internal)?\.aliyuncs\.com")
_BUCKET_HOST: Final = re.compile(
    r"(https?://)([a-z0-9][a-z0-9-]+)\.((?:oss-[a-z0-9-]+|[a-z0-9-]+\.oss)\.aliyuncs\.com)/?"
)
_FC_HOST: Final = re.compile(r"(?:fcv3(?:-vpc)?|\d+)\.([a-z0-9-]+)\.(?:fc\.)?aliyuncs\.com")
_NAS_HOST: Final = re.compile(r"[a-z0-9-]+\.([a-z0-9-]+)\.(?:extreme\.)?nas\.aliyuncs\.com(?::\d+)?")
_IMAGE_HOST: Final = re.compile(r"[a-z0-9-]+\.([a-z0-9-]+)\.(?:(?:personal\.)?cr\.)?aliyuncs\.com/.*")
_NOT_REGIONS: Final = frozenset({"accelerate", "accelerate-overseas"})


def problems_between(config: Config, declared: Declared) -> Iterator[Problem]:
    """Every problem between settings. `declared` has the names of each section, including refused tables."""
    for rule in _RULES:
        yield from rule(config, declared)


def warnings(config: Config) -> tuple[Problem, ...]:
    """Allowed but probably unintended: models without a binding or registry, unreachable webhooks, weak settings."""
    found = list(safety_warnings(config))
    for name, registry in sorted(config.registries.items()):
        for index, pattern in enumerate(registry.models):
            if not any(selects(pattern, model) for model in config.models()):
                key = key_path("registries", name, "models", index)
                found.append(Problem(key, shown(pattern), "no binding serves such a model, so it is never released"))
    if config.hooks and not config.api.listen:
        found.append(Problem("api.listen", "nothing", "the hooks cannot be called without an address to listen on"))
    for name, binding in sorted(config.bindings.items()):
        for index, served in enumerate(binding.models):
            if config.registry_of(served.model) is None:
                key = key_path("bindings", name, "models", index, "model")
                advice = "no registry has such a model, so only `syncd publish --from` can bring it"
                found.append(Problem(key, shown(served.model), advice))
    return (*found, *retention_warnings(config.retention, config.models()), *weak_settings(config))


def _provider(config: Config, declared: Declared) -> Iterator[Problem]:
    """A provider where people sign in needs all of its settings, and without it they do nothing."""
    del declared
    ui = config.ui
    given = {"client_id": ui.client_id, "client_secret": ui.client_secret, "public_url": ui.public_url}
    if ui.issuer is None:
        for key in (each for each, value in given.items() if value):
            yield Problem(key_path("ui", key), "no ui.issuer", "set the OpenID provider's issuer, or leave this out")
    else:
        for key in (each for each, value in given.items() if not value):
            yield Problem(key_path("ui", key), "nothing", "a sign-in at ui.issuer needs it")
        if not any(ui.roles.values()):
            advice = f"name the values of the claim {ui.claim} that give a role, or nobody is let in"
            yield Problem("ui.roles_read", "no role for anybody", advice)


def _accelerators(config: Config, declared: Declared) -> Iterator[Problem]:
    del declared
    for name, target in config.targets.items():
        if not isinstance(target, OssTargetSettings) or (target.accelerator is None) == (
            target.accelerator_bytes is None
        ):
            continue
        if target.accelerator_bytes is None:
            advice = 'expected the capacity of the accelerator, such as "50GB"'
            yield Problem(key_path("targets", name, "accelerator_bytes"), "nothing", advice)
        else:
            advice = "expected the accelerator's endpoint beside its capacity"
            yield Problem(key_path("targets", name, "accelerator"), "nothing", advice)


def _buffers(config: Config, declared: Declared) -> Iterator[Problem]:
    del declared
    least = config.transfer.parts_in_flight * PART_BYTES
    if config.transfer.buffer_bytes < least:
        advice = f"expected at least {least}: parts_in_flight ({config.transfer.parts_in_flight}) times {PART_BYTES}"
        yield Problem("transfer.buffer_bytes", str(config.transfer.buffer_bytes), advice)


def _times(config: Config, declared: Declared) -> Iterator[Problem]:
    del declared
    policy = config.policy
    if policy.retry_cap_s < policy.retry_base_s:
        advice = f"expected at least policy.retry_base_s ({policy.retry_base_s:g})"
        yield Problem("policy.retry_cap_s", f"{policy.retry_cap_s:g}", advice)
    for n, window in enumerate(policy.freeze_times):
        if window.since == window.to:
            advice = "expected an end other than the beginning; `syncd freeze` freezes for good"
            yield Problem(key_path("policy", "freeze_times", n, "to"), str(window.to), advice)
    if policy.lease_s < 3 * policy.tick_s:
        advice = f"expected at least three times policy.tick_s ({policy.tick_s:g}), or leases end under their owners"
        yield Problem("policy.lease_s", f"{policy.lease_s:g}", advice)


def _trust(config: Config, declared: Declared) -> Iterator[Problem]:
    trust = config.policy.trust
    for name in trust.sources_named() if trust else ():
        if name not in declared["registries"]:
            yield no_such(key_path("policy", "trust", "sources"), name, "registry", declared["registries"])
    yield from config.receipts.problems()


def _strategies(config: Config, declared: Declared) -> Iterator[Problem]:
    regions = frozenset(runtime.region for runtime in config.runtimes.values())
    yield from strategy_problems(config.policy.strategies, regions)
    for n, each in enumerate(config.policy.strategies):
        for m, name in enumerate(each.signals):
            if name not in declared["signals"]:
                yield no_such(key_path("policy", "strategies", n, "signals", m), name, "signal", declared["signals"])


def _password(config: Config, declared: Declared) -> Iterator[Problem]:
    del declared
    if config.state.password is not None and config.state.url.startswith("sqlite"):
        yield Problem("state.password", "a password", "leave it out: SQLite has none")


def _registries(config: Config, declared: Declared) -> Iterator[Problem]:
    del declared
    for (one, first), (other, second) in combinations(sorted(config.registries.items()), 2):
        for index, pattern in enumerate(second.models):
            rival = next((rival for rival in first.models if overlap(rival, pattern)), None)
            if rival is not None:
                advice = f"registries.{one} has {shown(rival)}: a model must come from one registry only"
                yield Problem(key_path("registries", other, "models", index), shown(pattern), advice)


def _followed(config: Config, declared: Declared) -> Iterator[Problem]:
    del declared
    for name, registry in sorted(config.registries.items()):
        for index, follow in enumerate(registry.follow):
            key = key_path("registries", name, "follow", index)
            if len(follow.named()) > 1:
                advice = f"expected one of {', '.join(WAYS[:-1])} and {WAYS[-1]}, or none of them for the newest"
                yield Problem(key, " and ".join(follow.named()), advice)
            if follow.by_tag() and not isinstance(registry, MlflowRegistrySettings):
                advice = "only a registry of the kind mlflow has tags of versions and models"
                yield Problem(key, " and ".join(follow.by_tag()), advice)
            for number, pattern in enumerate(follow.models):
                if follow.models != ANY_MODEL and not any(overlap(pattern, offered) for offered in registry.models):
                    advice = f"registries.{name}.models selects no such model"
                    yield Problem(f"{key}.models[{number}]", shown(pattern), advice)


def _dangling(config: Config, declared: Declared) -> Iterator[Problem]:
    users = (
        *(
            ("registries", name, r.credentials)
            for name, r in config.registries.items()
            if isinstance(r, OssRegistrySettings | PaiRegistrySettings)
        ),
        *(
            ("registries", name, r.acr.credentials)
            for name, r in config.registries.items()
            if isinstance(r, OciRegistrySettings) and r.acr is not None
        ),
        *(("targets", name, t.credentials) for name, t in config.targets.items() if isinstance(t, OssTargetSettings)),
        *(("runtimes", name, runtime.credentials) for name, runtime in config.runtimes.items()),
    )
    for section, name, credentials in users:
        if credentials not in declared["credentials"]:
            inner = ("acr",) if isinstance(config.registries.get(name), OciRegistrySettings) else ()
            key = key_path(section, name, *inner, "credentials")
            yield no_such(key, credentials, "credentials", declared["credentials"])


def _hooks(config: Config, declared: Declared) -> Iterator[Problem]:
    for name, hook in sorted(config.hooks.items()):
        key = key_path("hooks", name) if hook.registry is None else key_path("hooks", name, "registry")
        registry = name if hook.registry is None else hook.registry
        if registry not in declared["registries"]:
            yield no_such(key, registry, "registry", declared["registries"])
        for field in ("secret", "secret_before"):
            secret = getattr(hook, field)
            if hook.kind == "standard" and secret is not None and not _is_base64(secret):
                yield Problem(key_path("hooks", name, field), "something else", 'expected "whsec_" and base64')


def _is_base64(secret: Secret) -> bool:
    try:
        return bool(base64.b64decode(secret.reveal().removeprefix("whsec_"), validate=True))
    except ValueError:
        return False


def _endpoint_regions(config: Config, declared: Declared) -> Iterator[Problem]:
    del declared
    for name, target in config.targets.items():
        if isinstance(target, OssTargetSettings):
            for field in ("endpoint", "mount_endpoint", "internal_endpoint"):
                yield from _other_region(("targets", name, field), getattr(target, field), _OSS_HOST, target.region)
        elif isinstance(target, NasTargetSettings):
            yield from _other_region(("targets", name, "server"), target.server, _NAS_HOST, target.region, "server")
        else:
            field = "served_from" if target.served_from else "repository"
            where = ("targets", name, field)
            yield from _other_region(where, getattr(target, field), _IMAGE_HOST, target.region, "repository")
    for name, registry in config.registries.items():
        if isinstance(registry, OssRegistrySettings):
            where = ("registries", name, "endpoint")
            yield from _other_region(where, registry.endpoint, _OSS_HOST, registry.region)
        if isinstance(registry, PaiRegistrySettings):
            where = ("registries", name, "oss_endpoint")
            yield from _other_region(where, registry.oss_endpoint, _OSS_HOST, registry.region)
    for name, runtime in config.runtimes.items():
        yield from _other_region(("runtimes", name, "endpoint"), runtime.endpoint, _FC_HOST, runtime.region)


def _bucket_in_endpoint(config: Config, declared: Declared) -> Iterator[Problem]:
    del declared
    for section, tables in (("targets", config.targets), ("registries", config.registries)):
        for name, table in tables.items():
            for field in ("endpoint", "mount_endpoint", "internal_endpoint", "oss_endpoint"):
                endpoint = getattr(table, field, None)
                match = _BUCKET_HOST.fullmatch(endpoint or "")
                if match:
                    advice = f'expected the endpoint without the bucket, "{match[1]}{match[3]}"'
                    yield Problem(key_path(section, name, field), shown(endpoint), advice)


def _other_region(
    where: tuple[str, str, str], endpoint: str | None, host: re.Pattern[str], region: str, what: str = "endpoint"
) -> Iterator[Problem]:
    match = host.fullmatch(endpoint or "")
    if match and match[1] != region and match[1] not in _NOT_REGIONS:
        advice = f'that {what} is in "{match[1]}": use one in {key_path(*where[:2], "region")}, "{region}"'
        yield Problem(key_path(*where), shown(endpoint), advice)


def _one_writer(config: Config, declared: Declared) -> Iterator[Problem]:
    """Two targets whose `models/` roots are equal or nested."""
    del declared
    for (one, first), (other, second) in combinations(sorted(config.targets.items()), 2):
        for (key, place, shown_place), (_, rival, _) in zip(_places(second), _places(first), strict=False):
            if place[0] == rival[0] and (place[1].startswith(rival[1]) or rival[1].startswith(place[1])):
                advice = f"targets.{one} writes there too: two targets must not share a place"
                yield Problem(key_path("targets", other, key), shown(shown_place), advice)
                break


def _sources(config: Config, declared: Declared) -> Iterator[Problem]:
    """Sources are distinct targets and the registry, by name or among the nearest: only it has a first version."""
    sources = config.transfer.sources
    for index, name in enumerate(sources):
        key = key_path("transfer", "sources", index)
        if name in sources[:index]:
            yield Problem(key, shown(name), "leave it out: it is in the list already")
        elif name not in {REGISTRY, NEAREST} and name not in declared["targets"]:
            yield no_such(key, name, "target", declared["targets"])
        elif isinstance(config.targets.get(name), ImageTargetSettings):
            yield Problem(key, shown(name), "leave it out: files are not read out of images")
    if not {REGISTRY, NEAREST} & set(sources):
        yield Problem("transfer.sources", shown(list(sources)), f'expected "{REGISTRY}" or "{NEAREST}" in it')
    for word, means in ((REGISTRY, "the registry"), (NEAREST, "whatever is nearest")):
        if word in declared["targets"]:
            advice = f"expected another name: in transfer.sources it stands for {means}"
            yield Problem(key_path("targets", word), shown(word), advice)


def _replicas(config: Config, declared: Declared) -> Iterator[Problem]:
    """Replication has one level, starts at a target that syncd sends to, and keeps the names of objects or tags."""
    for name, target in config.targets.items():
        if isinstance(target, NasTargetSettings):
            continue
        key, source = key_path("targets", name, "replicated_from"), config.targets.get(target.replicated_from)
        if target.mode == "sent":
            if target.replicated_from:
                yield Problem(key, shown(target.replicated_from), 'expected mode = "replicated" beside it')
        elif not target.replicated_from:
            yield Problem(key, "nothing", 'mode = "replicated" needs the target that replication comes from')
        elif target.replicated_from not in declared["targets"]:
            yield no_such(key, target.replicated_from, "target", declared["targets"])
        elif source is not None:
            yield from _replicated(name, target, source)


def _replicated(
    name: str, target: OssTargetSettings | ImageTargetSettings, source: TargetSettings
) -> Iterator[Problem]:
    """Problems between a replica and its source."""
    if isinstance(source, NasTargetSettings) or source.kind != target.kind or source.mode != "sent":
        advice = f'expected a target of kind "{target.kind}" and mode "sent"'
        yield Problem(key_path("targets", name, "replicated_from"), shown(target.replicated_from), advice)
        return
    key, why = (
        ("prefix", "replication keeps keys") if target.kind == "oss" else ("directory", "images stay as they are")
    )
    mine, its = getattr(target, key), getattr(source, key)
    if mine != its:
        advice = f"expected {shown(its)} as in targets.{target.replicated_from}: {why}"
        yield Problem(key_path("targets", name, key), shown(mine), advice)


def _places(target: TargetSettings) -> tuple[tuple[str, tuple[str, str], str], ...]:
    """Each name of a target's location: the key, (holder, path), and the text to show."""
    if isinstance(target, NasTargetSettings):
        server = (target.server.lower(), f"{target.server_path / MODELS_DIRECTORY}/")
        return (
            ("path", ("", f"{target.path / MODELS_DIRECTORY}/"), str(target.path)),
            ("server_path", server, f"{target.server}:{target.server_path}"),
        )
    if isinstance(target, ImageTargetSettings):
        host, _, name = target.repository.partition("/")
        return (("repository", (host, f"{name}:"), target.repository),)
    bucket = (f"{target.region}/{target.bucket}", f"{target.prefix}{MODELS_DIRECTORY}/")
    return (("prefix", bucket, f"{target.bucket}/{target.prefix}"),)


_RULES: Final[tuple[Rule, ...]] = (
    _password,
    _accelerators,
    _buffers,
    _times,
    _strategies,
    _trust,
    _registries,
    _followed,
    _dangling,
    _hooks,
    _provider,
    _endpoint_regions,
    _bucket_in_endpoint,
    _one_writer,
    _replicas,
    _sources,
    binding_problems,
    image_problems,
)
