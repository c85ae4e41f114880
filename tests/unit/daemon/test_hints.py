"""Polls after webhooks, their back-off while a registry cannot be read, and the health of a process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from syncd.artifact.digest import Digest
from syncd.artifact.names import ModelName
from syncd.daemon.health import SILENT_AT_LEAST_S, Health
from syncd.daemon.polling import Poller
from syncd.errors import Unavailable
from syncd.reconcile.discovery.poll import served_from
from syncd.registry.rules.file_filters import EVERYTHING, FileFilter
from syncd.registry.settings import DirectorySettings
from syncd.registry.sources.directory import DirectoryRegistry
from syncd.state.access import deliveries
from syncd.state.records import Delivery
from syncd.state.releases import idempotency
from syncd.state.state import State
from syncd.values.source import Candidate

from tests.support.rooms import SDXL, Site, World, site


class Clock:
    """`time.monotonic`, moved by the test."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        patch.setattr(time, "monotonic", lambda: self.now_s)


@pytest.fixture
def at(tmp_path: Path, sqlite_template: Path) -> Iterator[Site]:
    (tmp_path / "state.db").write_bytes(sqlite_template.read_bytes())
    state = State(f"sqlite:///{tmp_path / 'state.db'}")
    yield site(World(tmp_path / "registry"), state)
    state.close()


def failed_polls(poller: Poller, clock: Clock, seconds: int) -> list[float]:
    """When polls failed, with `poll_reported` called each second."""
    failed_at = []
    for _ in range(seconds):
        with capture_logs() as logs:
            poller.poll_reported()
        failed_at += [clock.now_s - 1000.0 for log in logs if log["event"] == "poll.failed"]
        clock.now_s += 1.0
    return failed_at


def test_a_model_that_cannot_be_read_is_polled_less_and_less_often(at: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with at.state.write() as conn:
        deliveries.record(conn, [Delivery("models", "1", "models", "m", SDXL)], at.state.now(conn))
    hidden = at.world.root.rename(at.world.root.with_name("hidden"))
    clock = Clock(monkeypatch)
    poller = Poller(at.context, "models", 10.0, auto_release=True, start=lambda work: work())
    assert failed_polls(poller, clock, 60) == [0.0, 2.0, 6.0, 14.0, 24.0, 34.0, 44.0, 54.0]
    hidden.rename(at.world.root)
    at.world.deliver(SDXL, "v1")
    clock.now_s += 10.0
    poller.poll_reported()
    assert [release.ref for release in at.all_releases()] == ["v1"]
    poller.poll_reported()


@pytest.mark.parametrize(("told_s", "until_s"), [(120.0, 120.0), (1e9, 3600.0)], ids=["two minutes", "for ever"])
def test_a_delay_that_the_registry_requests_applies_to_all_its_models(
    at: Site, monkeypatch: pytest.MonkeyPatch, told_s: float, until_s: float
) -> None:
    class Limited(DirectoryRegistry):
        asked = 0

        def discover(self, model: ModelName | None = None, taking: FileFilter = EVERYTHING) -> Sequence[Candidate]:
            self.asked += 1
            if self.asked == 1:
                raise Unavailable("too many requests", retry_after_s=told_s)
            return super().discover(model, taking)

    limited = Limited(DirectorySettings(at.world.root, settle_s=0.0))
    at.context.registries["models"] = limited  # type: ignore[index]
    at.world.deliver(SDXL, "v1")
    clock = Clock(monkeypatch)
    poller = Poller(at.context, "models", 10.0, auto_release=True, start=lambda work: work())
    for wait_s in (0.0, 1.0, until_s - 2.0):
        clock.now_s += wait_s
        poller.poll()
        assert limited.asked == 1
    clock.now_s += 2.0
    poller.poll()
    assert limited.asked == 1 + len(served_from(at.context, "models"))
    assert [release.ref for release in at.all_releases()] == ["v1"]


def test_a_process_is_alive_while_its_loop_begins_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    for tick_s, silent_s in ((1.0, SILENT_AT_LEAST_S), (10.0, 200.0)):
        pulse = Health(["a"], tick_s)
        clock.now_s += silent_s - 1
        assert pulse.is_alive()
        clock.now_s += 2
        assert not pulse.is_alive()
        pulse.beat()
        assert pulse.is_alive()


def test_registries_are_unpolled_until_their_first_poll() -> None:
    pulse = Health(["b", "a"], 1.0)
    assert pulse.unpolled() == ("a", "b")
    for registry in ("a", "a", "other"):
        pulse.record_poll(registry)
    assert pulse.unpolled() == ("b",)


def test_idempotency_keys_expire(at: Site) -> None:
    with at.state.write() as conn:
        now = at.state.now(conn)
        idempotency.claim(conn, "ci", "k", Digest("a" * 64), now)
        assert idempotency.is_known(conn, "ci", "k")
        assert not idempotency.is_known(conn, "other", "k")
        assert idempotency.forget(conn, now - idempotency.KEPT) == 0
        assert idempotency.forget(conn, now + idempotency.KEPT) == 1
        assert not idempotency.is_known(conn, "ci", "k")
