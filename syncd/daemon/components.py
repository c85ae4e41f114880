"""Checks of what the daemon works with: one cheap read of each target and runtime, the ends of polls, access keys."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from syncd.artifact.names import ModelName
from syncd.errors import Cancelled, KeyRefused, SyncdError, Unavailable
from syncd.reconcile.context import Context
from syncd.reconcile.discovery.poll import served_from
from syncd.state.access import component_health, record_disk
from syncd.state.access.component_health import ComponentHealth
from syncd.values.health import DEGRADED, GOOD, UNKNOWN, HealthState

CHECK_EVERY_S: Final = 15.0  # or as often as the registry that is polled most often
CHECK_AT_MOST_EVERY_S: Final = 2.0
WRITTEN_EVERY_S: Final = 20.0  # beside each change
SILENT_AFTER_S: Final = 10.0  # a check, of one small read, has no answer: a mount that hangs, calls that are repeated
BINDINGS_AT_ONCE: Final = 10  # of a runtime in one check; a larger one is read in turns
NO_ANSWER: Final = "`syncd doctor` checks its address, key and network; what waits for it is retried by itself"
_NOTES: Final = "health"  # no note has this place: the list of it is empty, and costs one request

RECORD_DISK: Final = ("record", "disk")
Name = tuple[str, str]
"""Section and name of a component, as in the configuration."""


@dataclass(frozen=True, slots=True)
class _Component:
    """The parts of a component (models of a registry, bindings of a runtime) that failed, and a check under way."""

    shown: ComponentHealth
    failures: Mapping[str, SyncdError]
    began_at: datetime | None = None


def _now() -> datetime:
    return datetime.now(UTC)


class Components:
    """What the checks of one process found. Safe from several threads."""

    def __init__(
        self, names: Iterable[Name], credentials: Mapping[Name, str], now: Callable[[], datetime] = _now
    ) -> None:
        """`credentials` names the access key of those components that have one."""
        self._now = now
        self._lock = threading.Lock()
        self._credentials = dict(credentials)
        every = [*names, *dict.fromkeys(("credentials", key) for key in self._credentials.values())]
        self._found = {name: _Component(ComponentHealth(*name, UNKNOWN, now()), {}) for name in every}

    def resume(self, before: Sequence[ComponentHealth]) -> None:
        """Go on with what the process before reported: `since` outlives a restart."""
        with self._lock:
            for each in before:
                found = self._found.get((each.section, each.name))
                if found is not None and found.shown.state == UNKNOWN and each.state != UNKNOWN:
                    self._found[each.section, each.name] = replace(found, shown=each)

    def begin(self, section: str, name: str) -> None:
        """Note that a check begins. One that was abandoned without an answer is still under way."""
        self._change((section, name), lambda found: replace(found, began_at=found.began_at or self._now()))

    def end(self, section: str, name: str, part: str, error: SyncdError | None) -> None:
        """Note how the check of a part ended. A refused key is told of the key, too."""
        self._change((section, name), lambda found: self._ended(found, part, error))
        key = self._credentials.get((section, name))
        if key is not None and (error is None or isinstance(error, KeyRefused)):
            self._change(("credentials", key), lambda found: self._ended(found, f"{section}.{name}", error))

    def shown(self) -> list[ComponentHealth]:
        """Every component as it is now. One whose check has had no answer for `SILENT_AFTER_S` is degraded."""
        with self._lock:
            now = self._now()
            return [_silent(found, now) for found in self._found.values()]

    def _change(self, name: Name, change: Callable[[_Component], _Component]) -> None:
        with self._lock:
            if name in self._found:
                self._found[name] = change(self._found[name])

    def _ended(self, found: _Component, part: str, error: SyncdError | None) -> _Component:
        now = self._now()
        was = _silent(found, now)
        failures = {key: each for key, each in found.failures.items() if key != part}
        if error is not None:
            failures[part] = error
        first = next(iter(failures.items()), None)
        state: HealthState = GOOD if first is None else DEGRADED
        shown = ComponentHealth(
            found.shown.section,
            found.shown.name,
            state,
            was.since if was.state == state else now,
            "" if first is None else _reason(*first, others=len(failures) - 1),
            "" if first is None else first[1].hint or NO_ANSWER,
            now,
        )
        return _Component(shown, failures)


def _state(shown: ComponentHealth) -> ComponentHealth:
    """What is written at once when it changes: the words of a failure change with each part that was read."""
    return replace(shown, seen_at=None, reason="", hint="")


def _silent(found: _Component, now: datetime) -> ComponentHealth:
    if found.began_at is None or now - found.began_at < timedelta(seconds=SILENT_AFTER_S):
        return found.shown
    since = found.shown.since if found.shown.state == DEGRADED else found.began_at
    reason = f"no answer for more than {SILENT_AFTER_S:g} s"
    return replace(found.shown, state=DEGRADED, since=since, reason=reason, hint=found.shown.hint or NO_ANSWER)


def _reason(part: str, error: SyncdError, others: int) -> str:
    said = f"{part}: {error.message}" if part else error.message
    return f"{said} (and {others} more)" if others else said


class ComponentChecks:
    """The periodic checks of one process, and their report in the record."""

    def __init__(self, context: Context, registries: Iterable[str], credentials: Mapping[Name, str]) -> None:
        self._context = context
        self._bindings = {
            name: [each for each in context.topology.bindings.values() if each.runtime == name]
            for name in context.runtimes
        }
        names = [("registries", name) for name in registries if served_from(context, name)]
        names += [("targets", name) for name in context.targets]
        names += [("runtimes", name) for name, bindings in self._bindings.items() if bindings]
        names += [RECORD_DISK]
        self.components: Final = Components(names, {key: of for key, of in credentials.items() if key in names})
        self._turns = dict.fromkeys(self._bindings, 0)
        self._written: tuple[list[ComponentHealth], datetime] | None = None
        self._is_resumed = False

    def jobs(self) -> list[tuple[str, Callable[[], object]]]:
        """The checks to repeat, each by what it is of: one that hangs must not keep another from running."""
        world = self._context
        return [
            *((f"target {name}", partial(self.check_target, name)) for name in world.targets),
            *((f"runtime {name}", partial(self.check_runtime, name)) for name in world.runtimes),
            ("record's disk", self.check_disk),
        ]

    def check_disk(self) -> None:
        """Look at the free space of the record's disk."""
        fault = record_disk.fault(self._context.state.url)
        self.components.end(*RECORD_DISK, "", Unavailable(fault.reason, hint=fault.hint) if fault else None)

    def end_poll(self, registry: str, model: ModelName, error: SyncdError | None) -> None:
        """Note how the poll of a model ended. A poll is the check of its registry."""
        self.components.end("registries", registry, model, error)

    def check_target(self, name: str) -> None:
        """Read an empty list at a target, which proves its address, its key and its mount, and ask for its room."""
        target = self._context.targets[name]
        self.components.begin("targets", name)
        error = self._error_of(lambda: list(target.notes(_NOTES))) or self._error_of(target.check_room)
        self.components.end("targets", name, "", error)

    def check_runtime(self, name: str) -> None:
        """Read the aliases of a runtime, a few at once."""
        bindings = self._bindings[name]
        if not bindings:
            return
        start = self._turns[name]
        chosen = [bindings[(start + n) % len(bindings)] for n in range(min(BINDINGS_AT_ONCE, len(bindings)))]
        self._turns[name] = (start + len(chosen)) % len(bindings)
        runtime = self._context.runtimes[name]
        for each in chosen:
            self.components.begin("runtimes", name)
            error = self._error_of(lambda each=each: runtime.read(each.function, each.alias))  # type: ignore[misc]
            self.components.end("runtimes", name, each.name, error)

    def write(self) -> None:
        """Write the report to the record where a state has changed, or it is old. Raises what the record raises."""
        state = self._context.state
        if not self._is_resumed:
            with state.read() as conn:
                before = component_health.read(conn)
            self.components.resume(before.components if before else ())
            self._is_resumed = True
        shown, now = self.components.shown(), _now()
        if self._written is not None:
            written, at = self._written
            is_recent = timedelta() <= now - at < timedelta(seconds=WRITTEN_EVERY_S)
            if is_recent and [_state(each) for each in shown] == written:
                return
        with state.write() as conn:
            component_health.write(conn, shown, state.now(conn))
        self._written = [_state(each) for each in shown], now

    def _error_of(self, read: Callable[[], object]) -> SyncdError | None:
        try:
            read()
        except Cancelled:
            raise
        except SyncdError as error:
            return error
        return None
