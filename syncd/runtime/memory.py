"""In-memory runtime: for tests, and a short reference of what `Runtime` promises."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import RLock
from typing import Final

from syncd.errors import Conflict, Failed, NotFound
from syncd.runtime.base import MOVED_HINT, Waiting, function_gone_hint, ignore_waits
from syncd.runtime.health_check import run_probe
from syncd.serving.challenge import parse_challenge
from syncd.values.function import (
    AliasState,
    Change,
    GoldenAnswer,
    InstanceSettings,
    Mount,
    Probe,
    ProbeReport,
    Scaling,
    Staged,
)

LATEST: Final = "LATEST"


@dataclass(frozen=True, slots=True)
class Published:
    """A function version. It never changes."""

    change: Change
    description: str


@dataclass
class MemoryFunction:
    """One function; `latest` is the next version."""

    latest: Change
    versions: dict[str, Published] = field(default_factory=dict)
    aliases: dict[str, AliasState] = field(default_factory=dict)
    scaling: dict[str, Mapping[str, Mapping[str, object]]] = field(default_factory=dict)  # by alias
    instance: InstanceSettings = field(default_factory=InstanceSettings)
    published_last: int = 0


def answer_with_change(change: Change) -> bytes:
    """The answer of a function that reports everything it was published with."""
    mounts = {mount.mount_dir: f"{mount.source}{mount.path}" for mount in change.mounts}
    seen = {"env": dict(change.environment), "mounts": mounts, **({"image": change.image} if change.image else {})}
    return json.dumps(seen, sort_keys=True).encode()


class MemoryRuntime:
    """Keeps everything in one dictionary, `functions`, which tests may read and damage while they hold `lock`.

    `answers` is the function's answer, given all mounts and variables of the version that was reached. It may raise
    Failed or Unavailable; `proofs`, if set, answers challenges to prove its memory; `replies` has answers to requests
    of exactly this body instead. An image's tag resolves to the digest it is given with, or the one (`sha256:…`) that
    `tags` has for `host/name:tag`. A traffic share is never applied: an alias answers with its main version. At most
    `instances_max` instances can be prewarmed for an alias, and those exist at once.
    """

    def __init__(self, answers: Callable[[Change], bytes] = answer_with_change) -> None:
        self.answers = answers
        self.proofs: Callable[[Change, bytes], bytes] | None = None
        self.replies: Final[dict[bytes, Callable[[Change], bytes]]] = {}
        self.tags: Final[dict[str, str]] = {}
        self.instances_max = 1_000
        self.functions: Final[dict[str, MemoryFunction]] = {}
        self.lock: Final = RLock()

    def have_function(
        self, name: str, mounts: Sequence[Mount] = (), environment: Mapping[str, str] | None = None
    ) -> MemoryFunction:
        """Create a function with nothing published. An existing one is unchanged."""
        with self.lock:
            made = MemoryFunction(Change(tuple(mounts), dict(environment or {})))
            return self.functions.setdefault(name, made)

    def read(self, function: str, alias: str) -> AliasState:
        with self.lock:
            return self._function(function).aliases.get(alias, AliasState(None))

    def descriptions(self, function: str) -> Sequence[tuple[str, str]]:
        with self.lock:
            found = self._function(function).versions
            return [(number, found[number].description) for number in sorted(found, key=int, reverse=True)]

    def latest(self, function: str, like: Change, version: str | None = None) -> Change:
        with self.lock:
            found = self._function(function)
            if version is not None and version not in found.versions:
                raise NotFound(f"{function} has no version {version}")
            now = found.latest if version is None else found.versions[version].change
        named = {mount.mount_dir for mount in like.mounts} | like.without.mount_dirs
        names = like.environment.keys() | like.without.variables
        variables = {name: value for name, value in now.environment.items() if name in names}
        return Change(
            tuple(mount for mount in now.mounts if mount.mount_dir in named), variables, like.image and now.image
        )

    def instance(self, function: str) -> InstanceSettings:
        with self.lock:
            return self._function(function).instance

    def stage(self, function: str, change: Change, token: str, *, known: Sequence[str], waiting: Waiting) -> Staged:
        waiting(f"{function} is being prepared")
        with self.lock:
            found = self._function(function)
            for version in (*known, *self._published_as(found, token)):
                if version in found.versions and _carries(found.versions[version].change, change):
                    return Staged(version, reused=True)
            found.latest = _merged(found.latest, replace(change, image=self._resolved(change.image)))
            if found.latest.image != (change.image or found.latest.image):
                raise Failed(f"{function}: expected image {change.image}, got {found.latest.image}")
            newest = str(found.published_last)
            if newest in found.versions and found.versions[newest].change == found.latest:
                return Staged(newest, reused=True)
            found.published_last += 1
            found.versions[str(found.published_last)] = Published(found.latest, token)
            return Staged(str(found.published_last), reused=False)

    def probe(
        self,
        function: str,
        candidate: str,
        function_version: str,
        probe: Probe,
        waiting: Waiting = ignore_waits,
    ) -> ProbeReport:
        with self.lock:
            self._version(function, function_version)
            if candidate != function_version:
                self._function(function).aliases[candidate] = AliasState(function_version)
        return run_probe(
            f"{function}:{function_version}", lambda body: self._invoke(function, candidate, body), probe, waiting
        )

    def ask(self, function: str, qualifier: str, body: bytes, timeout_s: float) -> bytes:  # noqa: ARG002 -- the seam's
        answer = self._invoke(function, qualifier, body)
        if answer.error:
            raise Failed(f"{function}:{qualifier} failed with {answer.error}: {answer.body.decode()}")
        return answer.body

    def scaling(self, function: str, alias: str) -> Scaling:
        with self.lock:
            found = self._function(function)
            if alias not in found.aliases:
                raise NotFound(f"{function} has no alias {alias}")
            settings = found.scaling.get(alias, {})
            target = _least(settings)
            current = min(target, self.instances_max)
            return Scaling(settings, target, current, "no more instances are available" if current < target else "")

    def scale(self, function: str, alias: str, settings: Mapping[str, Mapping[str, object]], least: int = 0) -> None:
        with self.lock:
            before = self.scaling(function, alias)
            found = self._function(function)
            wanted = {**settings, "scaling": {"minInstances": least}} if least > _least(settings) else dict(settings)
            if wanted != before.settings:
                found.scaling = {**found.scaling, alias: wanted}
            if not wanted:
                found.scaling = {name: kept for name, kept in found.scaling.items() if name != alias}

    def flip(self, function: str, alias: str, to: str | None, expect: str | None) -> AliasState:
        with self.lock:
            aliases = self._function(function).aliases
            now = aliases.get(alias, AliasState(None))
            if now.function_version not in {expect, to}:
                raise Conflict(
                    f"{function}:{alias} points at {now.function_version}, expected {expect}",
                    hint=MOVED_HINT,
                )
            if to is None:
                aliases.pop(alias, None)
                self._function(function).scaling.pop(alias, None)
                return AliasState(None)
            self._version(function, to)
            aliases[alias] = AliasState(to)
            return aliases[alias]

    def split(self, function: str, alias: str, to: str, expect: str, share: float) -> AliasState:
        with self.lock:
            aliases = self._function(function).aliases
            now = aliases.get(alias, AliasState(None))
            if now.function_version != expect or not now.weights.keys() <= {to}:
                raise Conflict(
                    f"{function}:{alias} points at {now.function_version} and {dict(now.weights)}, expected {expect}",
                    hint=MOVED_HINT,
                )
            self._version(function, to)
            aliases[alias] = AliasState(expect, {to: share})
            return aliases[alias]

    def retire(self, function: str, function_version: str) -> None:
        with self.lock:
            found = self._function(function)
            for name, alias in found.aliases.items():
                if function_version == alias.function_version or function_version in alias.weights:
                    raise Conflict(f"{function}:{name} points at version {function_version}")
            found.versions.pop(function_version, None)

    def _invoke(self, function: str, qualifier: str, body: bytes) -> GoldenAnswer:
        with self.lock:
            found = self._function(function)
            reached = found.aliases.get(qualifier, AliasState(qualifier)).function_version
            change = found.latest if reached == LATEST else self._version(function, reached).change
        began = time.monotonic()
        try:
            known = self.replies.get(body, self.answers)
            said = self.proofs(change, body) if self.proofs and parse_challenge(body) else known(change)
        except Failed as failed:
            return GoldenAnswer(failed.message.encode(), time.monotonic() - began, "UnhandledInvocationError")
        return GoldenAnswer(said, time.monotonic() - began)

    def _function(self, name: str) -> MemoryFunction:
        try:
            return self.functions[name]
        except KeyError as error:
            raise NotFound(f"function {name} does not exist", hint=function_gone_hint(name)) from error

    def _version(self, function: str, version: str | None) -> Published:
        found = self._function(function).versions.get(version or "")
        if found is None:
            raise NotFound(f"{function} has no version {version}")
        return found

    def _resolved(self, image: str) -> str:
        name, _, digest = image.partition("@")
        return f"{name}@{self.tags.get(name, digest)}" if image else ""

    def _published_as(self, function: MemoryFunction, token: str) -> list[str]:
        return [version for version, published in function.versions.items() if published.description == token][::-1]


def _least(settings: Mapping[str, Mapping[str, object]]) -> int:
    return int(str(settings.get("scaling", {}).get("minInstances", 0)))


def _merged(latest: Change, change: Change) -> Change:
    """`latest` with the parts of `change`, without what it must not have; other mounts and variables stay."""
    without = change.without
    kept = [mount for mount in latest.mounts if mount.mount_dir not in without.mount_dirs]
    mounts = {mount.mount_dir: mount for mount in (*kept, *change.mounts)}
    there = {name: value for name, value in latest.environment.items() if name not in without.variables}
    environment = {**there, **change.environment}
    return Change(tuple(mounts[key] for key in sorted(mounts)), environment, change.image or latest.image)


def _carries(published: Change, change: Change) -> bool:
    environment, without = published.environment, change.without
    return (
        set(change.mounts) <= set(published.mounts)
        and all(environment.get(name) == value for name, value in change.environment.items())
        and change.image in {"", published.image}
        and not without.variables & environment.keys()
        and not without.mount_dirs & {mount.mount_dir for mount in published.mounts}
    )
