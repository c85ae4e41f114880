"""What webhooks told is looked at soon, less often while a registry cannot be read; and whether a process is well."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from syncd.artifact.digest import Digest
from syncd.daemon.hints import Told
from syncd.daemon.pulse import SILENT_AT_LEAST_S, Pulse
from syncd.errors import Unavailable
from syncd.state import deliveries, idempotency
from syncd.state.records import Delivery
from syncd.state.state import State

from tests.rooms import SDXL, Site, World, site


class Clock:
    """`time.monotonic`, moved by hand."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        patch.setattr(time, "monotonic", lambda: self.now_s)


@pytest.fixture
def at(tmp_path: Path, sqlite_template: Path) -> Iterator[Site]:
    (tmp_path / "state.db").write_bytes(sqlite_template.read_bytes())
    state = State(f"sqlite:///{tmp_path / 'state.db'}")
    yield site(World(tmp_path / "registry"), state)
    state.close()


def test_a_registry_that_cannot_be_read_is_looked_at_less_and_less_often(
    at: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with at.state.write() as conn:
        deliveries.take(conn, [Delivery("models", "1", "models", "m")], at.state.now(conn))
    hidden = at.world.root.rename(at.world.root.with_name("hidden"))
    clock = Clock(monkeypatch)
    told = Told(at.rooms, "models", 10.0, auto_release=True)
    failed_at = []
    for _ in range(60):
        try:
            told()
        except Unavailable:
            failed_at.append(clock.now_s - 1000.0)
        clock.now_s += 1.0
    assert failed_at == [0.0, 2.0, 6.0, 14.0, 24.0, 34.0, 44.0, 54.0]
    hidden.rename(at.world.root)
    at.world.deliver(SDXL, "v1")
    clock.now_s += 10.0
    told()
    assert [release.ref for release in at.all_releases()] == ["v1"]
    told()


def test_a_loop_is_turning_while_it_begins_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    for tick_s, silent_s in ((1.0, SILENT_AT_LEAST_S), (10.0, 200.0)):
        pulse = Pulse(["a"], tick_s)
        clock.now_s += silent_s - 1
        assert pulse.is_turning()
        clock.now_s += 2
        assert not pulse.is_turning()
        pulse.beat()
        assert pulse.is_turning()


def test_every_registry_is_looked_at_once() -> None:
    pulse = Pulse(["b", "a"], 1.0)
    assert pulse.unseen() == ("a", "b")
    for registry in ("a", "a", "other"):
        pulse.looked(registry)
    assert pulse.unseen() == ("b",)


def test_keys_are_forgotten_after_their_time(at: Site) -> None:
    with at.state.write() as conn:
        now = at.state.now(conn)
        idempotency.claim(conn, "ci", "k", Digest("a" * 64), now)
        assert idempotency.is_known(conn, "ci", "k")
        assert not idempotency.is_known(conn, "other", "k")
        assert idempotency.forget(conn, now - idempotency.KEPT) == 0
        assert idempotency.forget(conn, now + idempotency.KEPT) == 1
        assert not idempotency.is_known(conn, "ci", "k")
