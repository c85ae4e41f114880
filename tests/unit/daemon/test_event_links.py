"""The daemon links events by itself where the configuration has a key for receipts, and only there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from syncd.config import Config, load
from syncd.daemon import jobs
from syncd.daemon.process import Process
from syncd.daemon.settings import settings_of
from syncd.engine.memory import MemoryEngine
from syncd.plan.phases import ReleasePhase
from syncd.reconcile.requests.operations import hold, publish
from syncd.state.releases import audit, releases
from syncd.state.state import State

from tests.support.rooms import SDXL, Site, World, site
from tests.unit.cli.calling import CONFIG
from tests.unit.daemon.test_process import SETTINGS, limited
from tests.unit.trust.test_dsse import KEY, pem


@pytest.fixture
def here(tmp_path: Path, database_url: str) -> Iterator[Site]:
    state = State(database_url)
    yield site(World(tmp_path / "registry"), state, engine=MemoryEngine())
    state.close()


def configured(home: Path, more: str = "") -> Config:
    home.joinpath("config.toml").write_text(CONFIG.format(home=home) + more)
    return load(home / "config.toml", {"CALLING_SECRET": "x"})


def keyed(home: Path) -> Config:
    home.joinpath("key.pem").write_bytes(pem(KEY))
    return configured(home, f'\n[receipts]\nkey = {{ file = "{home}/key.pem" }}\n')


def audited(here: Site) -> audit.Audit:
    with here.state.read() as conn:
        return audit.verify(conn, {})


def is_live(here: Site, release_id: str) -> bool:
    with here.state.read() as conn:
        return releases.get(conn, release_id).phase is ReleasePhase.LIVE


def test_a_daemon_with_a_key_links_what_happens_and_goes_on_with_what_comes_later(
    here: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LINKED_EVERY_S", 0.05)
    here.world.deliver(SDXL, "v1")
    release = publish(here.requester, SDXL, "v1")
    settings = replace(SETTINGS, links_events=settings_of(keyed(tmp_path), polls=True).links_events)
    heads: list[int] = []

    def is_linked_twice() -> bool:
        found = audited(here)
        if is_live(here, release.id) and not found.unlinked and found.head.event_id not in heads:
            assert (found.breaks, found.links) == ((), found.events)
            heads.append(found.head.event_id)
            hold(here.requester, SDXL, f"the fair, day {len(heads)}")
        return len(heads) == 2

    Process(here.context, settings, sole=True).run(limited(is_linked_twice))
    assert heads == sorted(heads)


def test_without_a_key_and_for_one_release_nothing_is_linked(here: Site, tmp_path: Path) -> None:
    assert not settings_of(configured(tmp_path), polls=True).links_events
    assert not settings_of(keyed(tmp_path), polls=False, only="r-1").links_events
    here.world.deliver(SDXL, "v1")
    release = publish(here.requester, SDXL, "v1")
    Process(here.context, SETTINGS, sole=True).run(limited(lambda: is_live(here, release.id)))
    assert audited(here).links == 0
