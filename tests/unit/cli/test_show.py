"""`syncd show` for the person on call: what happened, when, in which region, and what to do."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from syncd.cli.commands.show import MACHINERY
from syncd.cli.output.recorded_release import around_of, tell
from syncd.cli.output.tables import Terminal
from syncd.plan.phases import ReleasePhase
from syncd.reconcile.controller.tick import tick
from syncd.reconcile.requests.operations import cancel, publish, unhold
from syncd.reconcile.requests.rollbacks import rollback
from syncd.reconcile.views.release import load
from syncd.state.releases import events
from syncd.state.state import State

from tests.support.rooms import DRAW, SDXL, Site, World, site


@pytest.fixture
def here(tmp_path: Path, sqlite_template: Path) -> Iterator[Site]:
    """Two versions were released, one after the other, at noon of a day in March."""
    shutil.copyfile(sqlite_template, tmp_path / "state.db")
    world = World(tmp_path / "registry")
    state = State(f"sqlite:///{tmp_path / 'state.db'}", now=world.now)
    there = site(world, state)
    for version in ("v1", "v2"):
        asked(there, version)
        there.settle()
    yield there
    state.close()


def asked(here: Site, version: str) -> str:
    here.world.deliver(SDXL, version)
    return publish(here.requester, SDXL, version).id


def reported(here: Site, release: str) -> str:
    printed = io.StringIO()
    scene = load(here.state, release)
    with here.state.read() as conn:
        happened = [event for event in events.of_release(conn, release) if event.kind not in MACHINERY]
        around = around_of(conn, here.context.topology, scene)
    tell(Terminal(file=printed, width=400, highlight=False), scene, happened, around)
    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    return "\n".join(lines)


def test_a_success(here: Site) -> None:
    text = reported(here, "r-2")
    digest = here.digest(SDXL, "v2")
    assert text.startswith(
        f"""\
r-2: release of sdxl@v2 is live
  to do:   nothing; `syncd rollback sdxl` returns to the previous version
  moved:   2 of 2 aliases, 2026-03-01 12:00:00Z to 2026-03-01 12:00:00Z
  digest:  {digest}, 100.0 kB
  asked:   2026-03-01 12:00:00Z by ops, ended 2026-03-01 12:00:00Z after 0s

REGION     BINDING  WAS  IS TO BE  STANDS  AT
hangzhou   draw-hz  1    2         done    2026-03-01 12:00:00Z
singapore  draw-sg  1    2         done    2026-03-01 12:00:00Z

REGION     TARGET  STANDS  AT
hangzhou   hz      sealed  2026-03-01 12:00:00Z
singapore  sg      sealed  2026-03-01 12:00:00Z

STEP     OF       STATE  ATTEMPT  FAILED  BEGAN                 TOOK  REASON
"""
    )
    assert "2026-03-01 12:00:00Z  +0s  flip.flipped       draw-sg  singapore  from_version=1, to_version=2" in text
    assert "step.started" not in text
    assert "to do:   nothing: r-2 came after it" in reported(here, "r-1")


def test_a_rollback(here: Site) -> None:
    back = rollback(here.requester, SDXL, "black images")
    here.settle()
    text = reported(here, back.id)
    assert text.startswith(
        """\
r-3: rollback to sdxl@v1 is live
  to do:   nothing; `syncd unhold sdxl` permits newer versions
  moved:   2 of 2 aliases, 2026-03-01 12:00:00Z to 2026-03-01 12:00:00Z
  on hold: since 2026-03-01 12:00:00Z by ops: black images
"""
    )
    assert "TARGET" not in text, "no byte is moved"


def test_a_stall(here: Site) -> None:
    here.world.runtimes["singapore"].functions.pop(DRAW)
    stalled = asked(here, "v3")
    here.settle(patient=True)
    text = reported(here, stalled)
    assert text.startswith(
        """\
r-3: release of sdxl@v3 is stalled
  why:     stage draw-sg: function draw does not exist
  to do:   create the function draw again """
    )
    assert "; fix the cause, then: syncd publish sdxl@v3\n  moved:   nothing\n" in text
    assert "singapore  draw-sg  -    -         abandoned" in text
    failed = "step.failed        draw-sg  singapore  reason=function draw does not exist"
    assert failed in text


def test_one_that_was_taken_back_in_the_middle(here: Site) -> None:
    forward = asked(here, "v3")
    here.until(ReleasePhase.FLIPPING, forward)
    tick(here.context)
    here.run_one()
    rollback(here.requester, SDXL, "black images")
    here.settle()
    text = reported(here, forward)
    assert "  why:     rolled back by ops: black images\n" in text
    assert "  to do:   fix the cause, then: `syncd unhold sdxl`, syncd publish sdxl@v3\n" in text
    assert "; 1 are back\n" in text
    unhold(here.requester, SDXL)
    assert "  to do:   fix the cause, then: syncd publish sdxl@v3\n" in reported(here, forward)


def test_one_that_is_under_way_and_one_that_was_cancelled(here: Site) -> None:
    forward = asked(here, "v3")
    assert "  to do:   nothing; it is in flight\n  moved:   nothing\n" in reported(here, forward)
    cancel(here.requester, forward, "wrong checkpoint")
    here.settle()
    assert "  why:     cancelled by ops: wrong checkpoint\n  to do:   nothing\n" in reported(here, forward)


def test_one_that_waits_says_what_fails_and_what_helps(here: Site) -> None:
    here.world.runtimes["singapore"].functions.pop(DRAW)
    forward = asked(here, "v3")
    here.settle()
    text = reported(here, forward)
    assert "  to do:   create the function draw again " in text
    assert "function draw does not exist" in text
