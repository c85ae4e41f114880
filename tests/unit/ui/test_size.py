"""A fleet of any size: the first screen costs as many statements as that of a small one, and stays a page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from syncd.plan.binding import Binding, BoundModel, MountMode
from syncd.plan.roles import Role
from syncd.plan.topology import Topology
from syncd.state.records import Live
from syncd.state.serving import live
from syncd.state.state import State
from syncd.ui.matrix import PAGE_MODELS
from syncd.ui.routes import routes_of

from tests.support.rooms import World, site
from tests.unit.api.serving import Served, serving
from tests.unit.reconcile.test_overview_statements import fleet, serve, statements
from tests.unit.state.making import NOON, make_release, make_version
from tests.unit.ui.person import signed_in

LONG = "a-name-as-long-as-people-make-them"
REGIONS = 20


def statements_of(served: Served) -> dict[str, int]:
    found = {}
    with signed_in(served, Role.READ) as ann:
        for path in ("/ui", "/ui?page=2", "/ui?find=m1", "/ui/part"):
            with statements() as said:
                assert ann.open(path).status_code == 200
            found[path] = len(said)
    return found


def test_a_hundred_models_cost_as_many_statements_as_ten(world: World, state: State) -> None:
    serve(state, 0, 10)
    with serving(site(world, state, topology=fleet(10)), pages=routes_of()) as few:
        before = statements_of(few)
        token = few._tokens
    serve(state, 10, 100)
    with serving(site(world, state, topology=fleet(100)), pages=routes_of()) as many:
        many._tokens.update(token)
        assert statements_of(many) == before
    assert max(before.values()) <= 35


@pytest.fixture
def wide(world: World, state: State) -> Iterator[Served]:
    """A thousand models in twenty regions, those of the first page live in all of them."""

    def binding(model: int, region: int) -> Binding:
        bound = BoundModel(f"{LONG}/{LONG}-{model:04}", f"t{region}", MountMode.VERSION, "/mnt/m")
        return Binding(f"{LONG}-{model:04}-{region}", f"r{region}", f"f{model}", "prod", "next", (bound,))

    made = [binding(model, region) for model in range(1000) for region in range(REGIONS)]
    places = {f"{kind}{region}": f"ap-southeast-{region}" for kind in "tr" for region in range(REGIONS)}
    topology = Topology({each.name: each for each in made}, {}, places, {"all": ("*",)})
    with state.write() as conn:
        for each in made[: PAGE_MODELS * REGIONS : REGIONS]:
            model = each.models[0].model
            version, release = make_version(conn, model), make_release(conn, model)
            for binding_of in topology.bindings_of(model):
                live.record(conn, binding_of.name, "1", {model: version.id}, release.id, NOON)
        assert isinstance(live.get(conn, made[0].name), Live)
    with serving(site(world, state, topology=topology), pages=routes_of()) as served:
        yield served


def test_a_page_of_a_thousand_models_in_twenty_regions_is_below_500_kb(wide: Served) -> None:
    with signed_in(wide, Role.READ) as ann:
        page = ann.open("/ui")
        assert page.text.count("<td data-region=") == PAGE_MODELS * REGIONS
        assert "Page 1 of 20, 1000 models" in page.text
        assert len(page.content) < 500_000
        last = ann.open("/ui?page=99").text
        assert f"{LONG}-0999</a>" in last
        assert "Page 20 of 20" in last
        found = ann.open("/ui?find=-0123").text
        assert found.count('<th scope="row">') == 1
        assert "No model has" in ann.open("/ui?find=nowhere").text
