"""A release through an image, whose process dies of every effect: on the registry, on a function, on the record.

Another process comes after it, over the same record and the same repository, and ends in the same place.
"""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from syncd.http.client import HttpRequest, HttpResponse
from syncd.plan.phases import PlacementPhase, ReleasePhase
from syncd.reconcile.requests.operations import publish
from syncd.reconcile.views.verification import verify
from syncd.state.releases import releases
from syncd.state.state import State
from syncd.targets.base import Depth

from tests.emulators.distribution import Distribution, distribution
from tests.support.directories import quick_directory
from tests.support.images import ONE, Gallery, wrapped
from tests.support.rooms import DRAW, SDXL, Site, World, site
from tests.unit.oci.kitchen import push_base

pytestmark = pytest.mark.needs_docker_registry
EFFECTS = frozenset({"stage", "probe", "flip"})
SHARDS = 4
LAYER_CHUNKS = 2  # of the largest: what this registry makes us send again where it was not recorded what it has
_numbers = itertools.count(1)


class Killed(BaseException):
    """The process is dead: nothing it still does has an effect."""


@dataclass
class Death:
    """Comes at the moment with this number: moment 2n is before the n-th effect, 2n + 1 after it."""

    at: int = -1
    moments: list[str] = field(default_factory=list)
    is_dead: bool = False

    def around(self, name: str, effect: Callable[[], Any]) -> Any:
        self._pass(f"before {name}")
        result = effect()
        self._pass(f"after {name}")
        return result

    def _pass(self, name: str) -> None:
        if self.is_dead:
            raise Killed
        self.moments.append(name)
        if len(self.moments) - 1 == self.at:
            self.is_dead = True
            raise Killed(name)


class MortalState(State):
    """Commits are effects."""

    death: Death

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        with super().write() as conn:
            before = conn.connection.dbapi_connection.total_changes  # type: ignore[union-attr]
            yield conn
            changed = conn.connection.dbapi_connection.total_changes != before  # type: ignore[union-attr]
            if changed:
                self.death._pass("before commit")
        if changed:
            self.death._pass("after commit")


class Mortal:
    """A runtime, or the connections to a registry, whose effects a process may die of."""

    def __init__(self, real: Any, death: Death) -> None:
        self._real, self._death = real, death

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if name not in EFFECTS:
            return found
        return lambda *given, **named: self._death.around(f"runtime {name}", lambda: found(*given, **named))

    def fetch_once(self, ask: HttpRequest) -> HttpResponse:
        """One request; of those that change something."""
        return self._made(ask, lambda: self._real.fetch_once(ask))

    def fetch(self, ask: HttpRequest) -> HttpResponse:
        return self._made(ask, lambda: self._real.fetch(ask))

    def _made(self, ask: HttpRequest, make: Callable[[], HttpResponse]) -> HttpResponse:
        if ask.method in {"GET", "HEAD"}:
            if self._death.is_dead:
                raise Killed
            return make()
        answer: HttpResponse = self._death.around(f"registry {ask.method}", make)
        return answer


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with quick_directory() as made:
        yield made


@pytest.fixture(scope="module")
def registry(home: Path) -> Iterator[Distribution]:
    with distribution(home) as made:
        push_base(made)
        yield made


@dataclass
class Stage:
    """What outlives a process of one case."""

    gallery: Gallery
    world: World
    database: Path

    @contextmanager
    def process(self, death: Death) -> Iterator[Site]:
        state = MortalState(f"sqlite:///{self.database}", now=self.world.now)
        state.death = death
        target = wrapped(self.gallery.target("img-hz"), lambda http: Mortal(http, death))
        runtimes = {"hangzhou": Mortal(self.world.runtimes["hangzhou"], death)}
        try:
            yield site(self.world, state, topology=ONE, targets={}, images={"img-hz": target}, runtimes=runtimes)
        finally:
            state.close()

    def live(self, death: Death) -> list[str]:
        """Release, as a process does that may be a second one. The moments it passed; ends early where it dies."""
        with self.process(death) as here:
            try:
                with here.state.read() as conn:
                    asked = releases.latest(conn, SDXL)
                if asked is None:
                    publish(here.requester, SDXL, "v1")
                here.settle(patient=True)
            except Killed:
                pass
        return death.moments


def stage(registry: Distribution, base: Path, template: Path) -> Stage:
    number = next(_numbers)
    home = base / str(number)
    world = World(home / "registry")
    world.deliver(SDXL, "v1")
    shutil.copyfile(template, home / "state.db")
    gallery = Gallery(registry, f"killed-{number}")
    gallery.serve(world)
    return Stage(gallery, world, home / "state.db")


def held_at_any_time(case: Stage) -> None:
    """No alias leads to an image that is not whole: what it leads to answers with its digest."""
    function = case.world.runtimes["hangzhou"].functions[DRAW]
    for pointed in function.aliases.values():
        change = function.versions[pointed.function_version or ""].change
        assert case.gallery.answer(change) != b"[]"


def ended_well(case: Stage, told: str) -> None:
    with case.process(Death()) as here:
        release = here.all_releases()[0]
        assert release.phase is ReleasePhase.LIVE, (told, release.reason)
        assert not here.unfinished(), told
        assert not [f for f in verify(here.looker, SDXL, Depth.BYTES) if f.wrong], told
        assert here.placements(SDXL, "v1")["img-hz"].phase is PlacementPhase.SEALED, told
        kinds = Counter(event.kind for event in here.events())
        assert (kinds["image.baked"], kinds["flip.flipped"], kinds["release.live"]) == (1, 1, 1), (told, kinds)
    assert len(case.gallery.tags("img-hz")) == 1, told
    assert len(case.world.runtimes["hangzhou"].functions[DRAW].versions) == 1, told
    assert case.world.alias("hangzhou").function_version == "1", told


def test_every_kind_of_effect_comes_up_in_a_release(registry: Distribution, home: Path, sqlite_template: Path) -> None:
    case = stage(registry, home, sqlite_template)
    moments = case.live(Death())
    ended_well(case, "not killed")
    kinds = Counter(moment.partition(" ")[2] for moment in moments)
    assert kinds.keys() == {
        "commit",
        "registry POST",
        "registry PATCH",
        "registry PUT",
        "runtime stage",
        "runtime probe",
        "runtime flip",
    }


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_process_that_dies_of_any_effect_is_followed_by_one_that_ends_the_same(
    registry: Distribution, home: Path, sqlite_template: Path, shard: int
) -> None:
    """Between two effects nothing changes: after each is before the next. Of commits every other one around a push."""
    moments = stage(registry, home, sqlite_template).live(Death())
    pushing = [at for at, name in enumerate(moments) if "registry" in name]
    after = {at for at, name in enumerate(moments) if name.startswith("after")}
    commits = sorted(at for at in after & set(range(pushing[0] - 6, pushing[-1] + 10)) if at not in pushing)
    chosen = sorted({at for at in after if "commit" not in moments[at]} | set(commits[::2]))
    assert len(chosen) > 24
    for at in chosen[shard::SHARDS]:
        case = stage(registry, home, sqlite_template)
        passed = case.live(Death(at))
        told = f"killed at {at}, {passed[-1]}"
        assert len(passed) == at + 1, told
        held_at_any_time(case)
        second = case.live(Death())
        assert sent(passed) + sent(second) <= sent(moments) + LAYER_CHUNKS, f"{told}: more than a layer was sent again"
        ended_well(case, told)


def sent(moments: list[str]) -> int:
    """Chunks that the registry was given."""
    return moments.count("after registry PATCH")
