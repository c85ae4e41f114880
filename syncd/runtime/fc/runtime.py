"""Function Compute 3.0 (API 2023-03-30) of one region. Only this package imports its SDK.

It provides what the platform does not: the platform has no compare-and-swap on aliases (read, write, read
back); UpdateFunction answers before it has done anything (wait for `lastUpdateStatus`); publishing without a change
is an error (use the newest version, or make a difference where that was deleted); publishing has no client token
(find it in the descriptions); a function error is HTTP 200 with `X-Fc-Error-Type`; the SDK times out after 10 s,
and a lost answer resembles none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from alibabacloud_fc20230330 import models as fc
from alibabacloud_fc20230330.client import Client

from syncd.errors import Conflict, Failed, NotFound, OutcomeUnknown, Unavailable
from syncd.runtime.base import Waiting, function_gone_hint, ignore_waits
from syncd.runtime.fc import alias as fc_alias
from syncd.runtime.fc import image
from syncd.runtime.fc import probe as fc_probe
from syncd.runtime.fc import scaling as fc_scaling
from syncd.runtime.fc.call import FcCaller, FcSettings, NoChange, readable
from syncd.runtime.fc.instance_settings import instance_settings
from syncd.runtime.fc.mapping import check, named
from syncd.runtime.fc.update import carries, merged
from syncd.runtime.health_check import error_line, run_probe
from syncd.values.function import (
    AliasState,
    Change,
    GoldenAnswer,
    InstanceSettings,
    Probe,
    ProbeReport,
    Scaling,
    Staged,
)

__all__ = ["FcRuntime", "FcSettings"]

STAGED_VARIABLE: Final = "SYNCD_STAGED"  # set where a version has to differ from one that was deleted
_FIRST_POLL_S: Final = 0.05
_SEEN_S: Final = 5.0  # a version that is deleted is one that no alias points at, and no release is about to use
_VERSIONS_LISTED: Final = 50  # our own publish is among the newest; a page is one call


class FcRuntime:
    """`Runtime` over the unmodified SDK."""

    def __init__(self, settings: FcSettings) -> None:
        self._settings = settings
        self._call = FcCaller(settings)
        # LATEST is one mutable thing for all aliases of a function, so staging is one at a time.
        self._staging: dict[str, threading.Lock] = {}
        self._staging_guard = threading.Lock()
        self._seen: dict[tuple[str, str], float] = {}  # published versions, and when each was read last
        self._moves = fc_alias.AliasCalls(self.read, self._check_version, self._write)

    def read(self, function: str, alias: str) -> AliasState:
        try:
            found = self._call(
                "GetAlias", function, lambda o: self._client.get_alias_with_options(function, alias, {}, o)
            )
        except NotFound:
            self._function(function)  # raises NotFound if the function is missing
            return AliasState(None)
        with readable(f"GetAlias {function}:{alias}"):
            return _state_of(found.body)

    def descriptions(self, function: str) -> Sequence[tuple[str, str]]:
        self._function(function)  # the list of a function that does not exist may be empty
        return self._versions(function, _VERSIONS_LISTED)

    def latest(self, function: str, like: Change, version: str | None = None) -> Change:
        return named(self._function(function, version), like)

    def instance(self, function: str) -> InstanceSettings:
        found = self._function(function)
        with readable(f"GetFunction {function}"):
            return instance_settings(found)

    def stage(self, function: str, change: Change, token: str, *, known: Sequence[str], waiting: Waiting) -> Staged:
        with self._staging_guard:
            lock = self._staging.setdefault(function, threading.Lock())
        with lock:
            found = self._already(function, change, token, known)
            if found is not None:
                return Staged(found, reused=True)
            self._update(function, change, waiting)
            staged = self._publish(function, change, token)
            if staged is None:  # what was published last is deleted, and LATEST is the same still
                self._mark(function, change, token, waiting)
                staged = self._publish(function, change, token)
            if staged is None:
                raise Conflict(
                    f"{function}: nothing to publish, and the newest version does not carry what was staged",
                    hint="another tool changes the function; the step is repeated",
                )
            return staged

    def probe(
        self,
        function: str,
        candidate: str,
        function_version: str,
        probe: Probe,
        waiting: Waiting = ignore_waits,
    ) -> ProbeReport:
        if candidate != function_version:
            fc_alias.set_alias(self._moves, function, candidate, function_version)

        def invoke(body: bytes) -> GoldenAnswer:
            return fc_probe.invoke(self._client, self._call, (function, candidate), body, probe.timeout_s)

        return run_probe(f"{function}:{function_version}", invoke, probe, waiting)

    def ask(self, function: str, qualifier: str, body: bytes, timeout_s: float) -> bytes:
        answer = fc_probe.invoke(self._client, self._call, (function, qualifier), body, timeout_s)
        if answer.error:
            raise Failed(f"{function}:{qualifier} failed with {answer.error}: {error_line(answer.body)}")
        return answer.body

    def scaling(self, function: str, alias: str) -> Scaling:
        self._have_alias(function, alias)
        return fc_scaling.read(self._client, self._call, (function, alias))

    def scale(self, function: str, alias: str, settings: Mapping[str, Mapping[str, object]], least: int = 0) -> None:
        self._have_alias(function, alias)
        fc_scaling.put(self._client, self._call, (function, alias), fc_scaling.with_least(settings, least))

    def flip(self, function: str, alias: str, to: str | None, expect: str | None) -> AliasState:
        return fc_alias.flip(self._moves, function, alias, to, expect)

    def split(self, function: str, alias: str, to: str, expect: str, share: float) -> AliasState:
        return fc_alias.split(self._moves, function, alias, to, expect, share)

    def retire(self, function: str, function_version: str) -> None:
        self._seen.pop((function, function_version), None)
        for alias, there in self._aliases(function):
            if function_version in {there.function_version, *there.weights}:
                raise Conflict(f"{function}:{alias} points at version {function_version}")
        try:
            self._call(
                "DeleteFunctionVersion",
                f"{function}:{function_version}",
                lambda o: self._client.delete_function_version_with_options(function, function_version, {}, o),
            )
        except NotFound:
            return

    def _have_alias(self, function: str, alias: str) -> None:
        """Raises NotFound if the alias is missing: the platform's NotFound could also mean missing scaling settings."""
        if self.read(function, alias).function_version is None:
            raise NotFound(f"{function} has no alias {alias}")

    # Staging.

    def _already(self, function: str, change: Change, token: str, known: Sequence[str]) -> str | None:
        for version in known:
            try:
                if carries(self._function(function, version), change):
                    return version
            except NotFound:
                continue
        for version_id, description in self._versions(function, _VERSIONS_LISTED):
            if description == token and carries(self._function(function, version_id), change):
                return version_id
        return None

    def _update(self, function: str, change: Change, waiting: Waiting) -> None:
        until = time.monotonic() + (self._settings.image_timeout_s if change.image else self._settings.stage_timeout_s)
        now = self._ready(function, until, waiting)
        if not carries(now, change) or image.has_failed(now):  # saving again re-triggers preparation
            now = self._saved(function, now, change, until, waiting)
        elif change.image:  # an attempt that broke off has saved it
            now = self._prepared(function, until, waiting)
        for _ in range(image.SAVED_AGAIN_MAX if change.image else 0):
            if not image.gave_up(now):
                break
            waiting(f"{function}: the platform's image preparation timed out, the function is saved again")
            now = self._saved(function, now, change, until, waiting)
        if image.has_failed(now):
            raise Failed(f"{function}: the update failed: {image.why_failed(now)}")
        image.check_resolved(now, change)
        if not carries(now, change):
            raise Conflict(
                f"{function}: LATEST is not what was saved",
                hint="the function is edited outside syncd; the step is repeated",
            )

    def _saved(self, function: str, now: fc.Function, change: Change, until: float, waiting: Waiting) -> fc.Function:
        request = fc.UpdateFunctionRequest(body=merged(now, change))
        self._call(
            "UpdateFunction",
            function,
            lambda o: self._client.update_function_with_options(function, request, {}, o),
        )
        return self._prepared(function, until, waiting) if change.image else self._ready(function, until, waiting)

    def _prepared(self, function: str, until: float, waiting: Waiting) -> fc.Function:
        """As `_ready`, and wait until its image is optimised or the time is over: calls are answered either way."""
        now, pauses_s = self._ready(function, until, waiting), self._pauses_s()
        while image.is_optimizing(now) and time.monotonic() < until:
            waiting(f"{function}: its image is being optimised")
            time.sleep(next(pauses_s))
            now = self._ready(function, until, waiting)
        return now

    def _mark(self, function: str, change: Change, token: str, waiting: Waiting) -> None:
        """Have LATEST differ from every version: the platform publishes nothing that is as it was published last."""
        until = time.monotonic() + (self._settings.image_timeout_s if change.image else self._settings.stage_timeout_s)
        marked = {**change.environment, STAGED_VARIABLE: f"{token} {time.time_ns()}"}
        now = self._ready(function, until, waiting)
        self._saved(function, now, replace(change, environment=marked), until, waiting)

    def _publish(self, function: str, change: Change, token: str) -> Staged | None:
        """Publish LATEST; None where nothing differs from a version that is not there any more."""
        request = fc.PublishFunctionVersionRequest(body=fc.PublishVersionInput(description=token))
        reused = False
        try:
            published = self._call(
                "PublishFunctionVersion",
                function,
                lambda o: self._client.publish_function_version_with_options(function, request, {}, o),
            )
            with readable(f"PublishFunctionVersion {function}"):
                version = _number(published.body.version_id)
        except NoChange:
            newest = self._versions(function, 1)
            if not newest or not carries(self._function(function, newest[0][0]), change):
                return None
            version, reused = newest[0][0], True
        if not carries(self._function(function, version), change):
            raise Conflict(
                f"{function}:{version} does not carry what was staged",
                hint="another tool changed the function between the update and the publish; the step is repeated",
            )
        return Staged(version, reused)

    def _ready(self, function: str, until: float, waiting: Waiting) -> fc.Function:
        """Wait until the function's last update has ended, either way; a 200 from UpdateFunction proves nothing."""
        began, pauses_s = time.monotonic(), self._pauses_s()
        while True:
            now = self._function(function)
            if not image.is_busy(now):
                return now
            if time.monotonic() > until:
                raise Unavailable(
                    f"{function}: {now.last_update_status or now.state} after {time.monotonic() - began:.0f} s",
                    hint="the platform is preparing the function; check it in the console",
                )
            waiting(f"{function} is {now.last_update_status or now.state}")
            time.sleep(next(pauses_s))

    def _pauses_s(self) -> Iterator[float]:
        """Between two looks at the same thing: short at first, since a small update takes a tenth of a second."""
        pause_s = _FIRST_POLL_S
        while True:
            yield min(pause_s, self._settings.poll_s)
            pause_s *= 2

    def _check_version(self, function: str, version: str) -> None:
        """Raises NotFound if a published version does not exist. One that was read a moment ago is not read again."""
        seen_s = self._seen.get((function, version))
        if seen_s is None or time.monotonic() > seen_s + _SEEN_S:
            self._function(function, version)

    # Single calls.

    @property
    def _client(self) -> Client:
        """The SDK's client, which is another one after the access key was renewed."""
        return self._call.client

    def _function(self, function: str, qualifier: str | None = None) -> fc.Function:
        request = fc.GetFunctionRequest(qualifier=qualifier)
        what = f"{function}:{qualifier}" if qualifier else function
        try:
            found = self._call(
                "GetFunction", what, lambda o: self._client.get_function_with_options(function, request, {}, o)
            )
        except NotFound as gone:
            raise gone if qualifier else NotFound(gone.message, hint=function_gone_hint(function)) from gone
        with readable(f"GetFunction {what}"):
            check(found.body)
        if qualifier:
            self._seen[function, qualifier] = time.monotonic()
        return found.body

    def _versions(self, function: str, limit: int) -> list[tuple[str, str]]:
        request = fc.ListFunctionVersionsRequest(direction="BACKWARD", limit=limit)
        found = self._call(
            "ListFunctionVersions",
            function,
            lambda o: self._client.list_function_versions_with_options(function, request, {}, o),
        )
        with readable(f"ListFunctionVersions {function}"):
            versions = [(_number(v.version_id), str(v.description or "")) for v in found.body.versions or []]
        return sorted(versions, key=lambda version: int(version[0]), reverse=True)

    def _aliases(self, function: str) -> list[tuple[str, AliasState]]:
        """Every alias. An unreadable one raises and is never left out: its function version would be deleted."""
        aliases: list[tuple[str, AliasState]] = []
        request = fc.ListAliasesRequest(limit=100)
        while True:
            page = self._call(
                "ListAliases", function, lambda o: self._client.list_aliases_with_options(function, request, {}, o)
            )
            with readable(f"ListAliases {function}"):
                aliases += [(str(alias.alias_name), _state_of(alias)) for alias in page.body.aliases]
                if not page.body.next_token:
                    return aliases
                if page.body.next_token == request.next_token:
                    raise ValueError("the list is circular")
            request.next_token = page.body.next_token

    def _write(self, function: str, alias: str, now: AliasState, to: AliasState) -> None:
        what = f"{function}:{alias}"
        if to.function_version is None:
            self._call("DeleteAlias", what, lambda o: self._client.delete_alias_with_options(function, alias, {}, o))
        elif now.function_version is not None:
            # The weights are sent, also where there are none: leaving them out would leave a canary behind.
            weights = dict(to.weights)
            wanted = fc.UpdateAliasInput(version_id=to.function_version, additional_version_weight=weights)
            change = fc.UpdateAliasRequest(body=wanted)
            self._call(
                "UpdateAlias",
                what,
                lambda o: self._client.update_alias_with_options(function, alias, change, {}, o),
            )
        else:
            new = fc.CreateAliasRequest(body=fc.CreateAliasInput(alias_name=alias, version_id=to.function_version))
            try:
                self._call("CreateAlias", what, lambda o: self._client.create_alias_with_options(function, new, {}, o))
            except Conflict as conflict:  # it was created meanwhile: by a call whose answer was lost, or outside syncd
                raise OutcomeUnknown(conflict.message) from conflict


def _state_of(alias: fc.Alias) -> AliasState:
    """The state of an alias. A damaged answer must not be read as an absent alias: an undo would delete it."""
    shares = alias.additional_version_weight or {}
    return AliasState(_number(alias.version_id), {_number(version): float(share) for version, share in shares.items()})


def _number(version: object) -> str:
    text = str(version)
    if text != "LATEST" and not (text.isascii() and text.isdecimal()):
        raise ValueError(f"a version is {text[:40]!r}, which is not a number")
    return text
