"""An exported record is compared with the functions' aliases before it is imported."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from syncd.engine.upgrade import create
from syncd.errors import Unavailable
from syncd.plan.phases import ReleasePhase
from syncd.reconcile.adoption.import_record import (
    Contradiction,
    ImportContradictedError,
    check_accepted,
    contradictions,
    import_record,
)
from syncd.reconcile.requests.operations import publish
from syncd.runtime.memory import MemoryRuntime
from syncd.state.access import record_info
from syncd.state.export.record import examine, export_record
from syncd.state.serving import live
from syncd.state.state import State
from syncd.values.function import AliasState

from tests.support.rooms import DRAW, SDXL, Site, World, site
from tests.support.snapshots import live as played


@pytest.fixture
def here(on_sqlite: Site) -> Site:
    return on_sqlite


@pytest.fixture
def new(world: World, tmp_path: Path) -> Iterator[Site]:
    """A process over the same world and a new record."""
    url = f"sqlite:///{tmp_path / 'new.db'}"
    create(url)
    state = State(url, now=world.now)
    yield site(world, state)
    state.close()


def exported(here: Site) -> bytes:
    stream = io.BytesIO()
    with here.state.read() as conn:
        _, writer = export_record(conn, stream, "now", lambda: None)
        writer.finish()
    return stream.getvalue()


def compared(new: Site, data: bytes) -> list[Contradiction]:
    _, served = examine(io.BytesIO(data), "f", lambda: None)
    return contradictions(new.context, served)


def imported(new: Site, data: bytes) -> list[Contradiction]:
    found = compared(new, data)
    import_record(new.context, io.BytesIO(data), "f", "the record", found, lambda: None)
    return found


def off(new: Site) -> str:
    with new.state.read() as conn:
        return record_info.automatic_off(conn)


def test_a_record_of_this_world_is_imported_and_goes_on(here: Site, new: Site) -> None:
    played(here, "v1", "v2")
    with new.state.write() as conn:
        record_info.switch_automatic_off(conn, "as after `syncd db create`", new.state.now(conn))
    assert imported(new, exported(here)) == []
    assert off(new) == ""
    new.world.deliver(SDXL, "v3")
    publish(new.requester, SDXL, "v3")
    new.settle(patient=True)
    assert new.all_releases()[0].phase is ReleasePhase.LIVE


def test_an_older_record_is_refused_until_a_person_accepts_and_then_nothing_is_automatic(here: Site, new: Site) -> None:
    played(here, "v1")
    yesterday = exported(here)
    here.world.deliver(SDXL, "v2")
    publish(here.requester, SDXL, "v2")
    here.settle(patient=True)
    found = compared(new, yesterday)
    with here.state.read() as conn:
        serving = {row.binding: row.function_version for row in live.all(conn)}
    assert {each.binding: each.got for each in found} == serving
    with pytest.raises(ImportContradictedError, match="the world is not as the file says: draw-hz: prod of") as refused:
        check_accepted(found, is_accepted=False)
    assert "--accept-differences" in refused.value.hint
    assert refused.value.details["differences"] == [each.document() for each in found]
    check_accepted(found, is_accepted=True)
    imported(new, yesterday)
    assert off(new).startswith("a record was imported although the world differs: draw-hz: ")
    assert new.events()[-1].kind == "automatic_releases.stopped"


def _moved(world: World, to: AliasState) -> None:
    world.runtimes["hangzhou"].functions[DRAW].aliases["prod"] = to


def _deleted(world: World) -> None:
    function = world.runtimes["hangzhou"].functions[DRAW]
    number = function.aliases["prod"].function_version
    assert number is not None
    del function.versions[number]


class Silent(MemoryRuntime):
    """A region that does not answer."""

    def read(self, function: str, alias: str) -> AliasState:
        raise Unavailable(f"{function}:{alias}: timed out")


CHANGES: dict[str, tuple[Callable[[World], object], str, str]] = {
    "another version": (lambda world: _moved(world, AliasState("9")), "9", "1"),
    "no alias": (lambda world: _moved(world, AliasState(None)), "no alias", "1"),
    "shares": (lambda world: _moved(world, AliasState("1", {"9": 0.1})), "1, 10% to 9", "1"),
    "a deleted version": (_deleted, "1, which is deleted", "1"),
    "no function": (lambda world: world.runtimes["hangzhou"].functions.clear(), "no function", "1"),
    "no answer": (lambda world: world.runtimes.update(hangzhou=Silent()), "no answer: draw:prod: timed out", "1"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_kind_of_difference_is_listed_with_both_sides(
    here: Site, tmp_path: Path, sqlite_template: Path, change: str
) -> None:
    played(here, "v1")
    data = exported(here)
    do, got, want = CHANGES[change]
    do(here.world)
    shutil.copyfile(sqlite_template, tmp_path / "new.db")
    with closing(State(f"sqlite:///{tmp_path / 'new.db'}", now=here.world.now)) as state:
        (found,) = compared(site(here.world, state), data)
    assert (found.binding, found.got, found.want) == ("draw-hz", got, want)
    assert str(found) == f"draw-hz: prod of {DRAW} in hangzhou: got {got}, the file says {want}"


def test_an_alias_that_the_file_does_not_know_contradicts_only_if_syncd_published_it(here: Site, new: Site) -> None:
    empty = exported(here)
    assert compared(new, empty) == []
    _moved(here.world, AliasState("9"))
    assert compared(new, empty) == []
    _moved(here.world, AliasState(None))
    played(here, "v1")
    assert {each.binding: (each.got, each.want) for each in compared(new, empty)} == {
        "draw-hz": ("1, which syncd published", "nothing"),
        "draw-sg": ("1, which syncd published", "nothing"),
    }


def test_an_alias_in_motion_may_be_on_either_side_of_it(here: Site, new: Site) -> None:
    played(here, "v1")
    here.world.deliver(SDXL, "v2")
    release = publish(here.requester, SDXL, "v2")
    here.until(ReleasePhase.FLIPPING, release.id)
    data = exported(here)
    to = here.flips(release.id)["draw-hz"].to_version
    assert to is not None
    for pointed in (AliasState("1"), AliasState("1", {to: 0.1}), AliasState(to)):
        _moved(here.world, pointed)
        assert compared(new, data) == [], pointed
    _moved(here.world, AliasState("1", {"9": 0.1}))
    assert [each.binding for each in compared(new, data)] == ["draw-hz"]
    _moved(here.world, AliasState(to))
    imported(new, data)
    new.settle(patient=True)
    assert new.release(release.id).phase is ReleasePhase.LIVE
    new.assert_record_is_true()
