"""Settings of a process: intervals, concurrency, and which of its jobs it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from syncd.config import Config
from syncd.daemon.components import CHECK_AT_MOST_EVERY_S, CHECK_EVERY_S
from syncd.plan.drift import DriftPolicy
from syncd.plan.topology import CONTROL_QUEUE, TRANSFER_QUEUE
from syncd.reconcile.repair.scrub import ScrubPolicy


@dataclass(frozen=True, slots=True)
class Poll:
    """The poll interval of one registry."""

    registry: str
    every_s: float
    jitter_s: float


@dataclass(frozen=True, slots=True)
class DriftSchedule:
    """How often each region is compared with the record, and the policy for drift."""

    every_s: float
    policy: DriftPolicy


@dataclass(frozen=True, slots=True)
class CheckSchedule:
    """How often targets and runtimes are checked, and the access key of each component that has one."""

    every_s: float
    credentials: Mapping[tuple[str, str], str]


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """Intervals and concurrency of a process."""

    tick_s: float
    drain_s: float
    auto_release: bool
    polls: tuple[Poll, ...]
    slots: Mapping[str, int]
    drifting: DriftSchedule | None = None  # None: nothing is compared
    watches_bases: bool = False  # checks base images, as configured for each target
    only: str = ""  # the release that a command works for; "": all releases, as in a daemon
    copies_holds: bool = False  # to every target
    links_events: bool = False  # adds settled events to the hash chain
    retention_every_s: float = 3600.0
    scrub: ScrubPolicy | None = None  # None: nothing is proven on a clock
    checking: CheckSchedule | None = None  # None: nothing is checked but what is worked with


DEFAULT_SLOTS: Final[Mapping[str, int]] = {
    CONTROL_QUEUE: 16,  # a stage waits for the platform most of the time: a thread and no CPU
    TRANSFER_QUEUE: 1,  # one copy at a time has the bandwidth, and the memory that transfer.buffer_bytes allows
}


def settings_of(config: Config, *, polls: bool, only: str = "") -> ProcessSettings:
    """The settings of a daemon; without `polls`, and with the id of a release, those of a command that works for it."""
    registries = tuple(Poll(name, r.poll_s, r.jitter_s) for name, r in config.registries.items()) if polls else ()
    return ProcessSettings(
        tick_s=config.policy.tick_s,
        drain_s=config.policy.drain_s,
        auto_release=config.policy.auto_release,
        polls=registries,
        slots=DEFAULT_SLOTS,
        drifting=DriftSchedule(config.policy.drift_poll_s, DriftPolicy(config.policy.drift)) if polls else None,
        watches_bases=polls,
        only=only,
        copies_holds=polls,
        links_events=polls and config.receipts.is_set,
        retention_every_s=config.retention.every_s,
        scrub=_scrub(config) if polls else None,
        checking=_checking(config) if polls else None,
    )


def _scrub(config: Config) -> ScrubPolicy | None:
    scrub = config.scrub
    return ScrubPolicy(scrub.period, scrub.bandwidth, scrub.oss == "bytes") if scrub.period else None


def _checking(config: Config) -> CheckSchedule:
    """As often as the registry that is polled most often: what is gone shows within a poll."""
    every_s = min((CHECK_EVERY_S, *(each.poll_s for each in config.registries.values())))
    keys = {
        (section, name): key
        for section, tables in (("targets", config.targets), ("runtimes", config.runtimes))
        for name, table in tables.items()
        if (key := getattr(table, "credentials", None))
    }
    return CheckSchedule(max(CHECK_AT_MOST_EVERY_S, every_s), keys)
