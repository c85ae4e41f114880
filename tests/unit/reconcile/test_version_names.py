"""The name of a version, in every form that people and pipelines write."""

from __future__ import annotations

from dataclasses import replace

import pytest
from syncd.artifact.names import ModelName
from syncd.errors import Invalid, NotFound, SyncdError, Unavailable
from syncd.reconcile.requests.version_names import named_version, new_version
from syncd.reconcile.views.model_versions import model_versions
from syncd.reconcile.views.plans.document import plan_document
from syncd.registry.base import Registry
from syncd.registry.settings import DirectorySettings
from syncd.registry.sources.directory import DirectoryRegistry
from syncd.values.source import Candidate, Revision

from tests.support.rooms import BINDINGS, FLEET, SDXL, Site, World, site

TURBO = "sdxl-turbo"
OWNED = "team/asr"


@pytest.fixture
def at(world: World, on_sqlite: Site) -> Site:
    """Four served models, whose names begin alike."""
    bound = BINDINGS[1].models[0]
    more = tuple(
        replace(BINDINGS[1], name=name.replace("/", "-"), function=name, models=(replace(bound, model=name),))
        for name in (TURBO, OWNED)
    )
    provides = ("*", "*/*")
    bindings = {each.name: each for each in (*BINDINGS, *more)}
    topology = replace(FLEET, bindings=bindings, registries={"models": provides})
    for model, version in ((SDXL, "v1"), (SDXL, "v2"), (SDXL, "1.0_beta"), (TURBO, "v7"), (OWNED, "2026-11-30")):
        world.deliver(model, version)
    registry = DirectoryRegistry(DirectorySettings(world.root, models=provides, settle_s=0.0))
    return site(world, on_sqlite.state, topology=topology, registries={"models": registry})


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("sdxl@v1", "sdxl@v1"),
        ("sdxl-v1", "sdxl@v1"),
        ("sdxl:v2", "sdxl@v2"),
        ("sdxl/v1", "sdxl@v1"),
        ("sdxl_v2", "sdxl@v2"),
        ("sdxl-1.0_beta", "sdxl@1.0_beta"),
        ("sdxl-latest", "sdxl@1.0_beta"),
        ("sdxl", "sdxl@1.0_beta"),
        ("sdxl-turbo", "sdxl-turbo@v7"),
        ("sdxl-turbo-v7", "sdxl-turbo@v7"),
        ("team/asr-2026-11-30", "team/asr@2026-11-30"),
        ("team/asr", "team/asr@2026-11-30"),
    ],
)
def test_each_form_of_the_name_finds_the_version(at: Site, name: str, found: str) -> None:
    assert str(named_version(at.context, name)) == found


def test_the_name_of_a_model_goes_before_a_split(at: Site) -> None:
    at.world.deliver(SDXL, "turbo")
    assert str(named_version(at.context, "sdxl-turbo")) == "sdxl-turbo@v7"


def test_two_splits_that_fit_are_one_line_with_both(at: Site) -> None:
    at.world.deliver(SDXL, "turbo-v7")
    with pytest.raises(Invalid, match=r"^'sdxl-turbo-v7' is sdxl-turbo@v7 or sdxl@turbo-v7$"):
        named_version(at.context, "sdxl-turbo-v7")


@pytest.mark.parametrize(
    ("name", "hints"),
    [
        ("sdlx-v1", ("did you mean sdxl? ", "models with bindings: lora, sdxl, sdxl-turbo, team/asr")),
        ("nobody", ("models with bindings: lora, sdxl",)),
        ("sdxl-v3", ("did you mean sdxl@v2? versions there: 1.0_beta, v2, v1; `syncd versions sdxl` lists them")),
        ("lora-v1", ("versions there: none",)),
    ],
)
def test_what_there_is_and_the_nearest_name_are_told(at: Site, name: str, hints: tuple[str, ...]) -> None:
    with pytest.raises(NotFound) as told:
        named_version(at.context, name)
    for hint in hints:
        assert hint in told.value.hint


@pytest.mark.parametrize(("name", "said"), [("sdxl@v3", "did you mean sdxl@v2?"), ("lora@v1", "versions there: none")])
def test_a_plan_of_a_version_that_is_not_there_lists_what_is(at: Site, name: str, said: str) -> None:
    with pytest.raises(NotFound, match="registry models has no version") as told:
        plan_document(at.looker, name)
    assert said in told.value.hint


def test_the_newest_version_of_a_model_without_any_is_named_by_its_registry(at: Site) -> None:
    with pytest.raises(NotFound, match="registry models has no version of lora") as told:
        named_version(at.context, "lora")
    assert told.value.hint == "`syncd versions lora` lists what it shows; add a version there first"


@pytest.mark.parametrize("name", ["", "-", "-v1", "sdxl v1", "é", "a" * 300, "sdxl\n-v1"], ids=ascii)
def test_what_is_no_name_is_not_looked_for(at: Site, name: str) -> None:
    with pytest.raises(Invalid, match="is not a name of a version"):
        named_version(at.context, name)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("sdxl-v9", "sdxl@v9"),
        ("sdxl-turbo-v8", "sdxl-turbo@v8"),
        ("sdxl-v1", "sdxl@v1"),
        ("team/asr:1-2_3", "team/asr@1-2_3"),
        ("sdxl@turbo", "sdxl@turbo"),
    ],
)
def test_a_new_version_belongs_to_the_longest_model(at: Site, name: str, found: str) -> None:
    assert str(new_version(at.context.topology, name)) == found


@pytest.mark.parametrize(
    ("name", "error"), [("sdxl-turbo", Invalid), ("sdlx-v1", NotFound), ("sdxl-", NotFound), ("sdxl -v1", Invalid)]
)
def test_a_new_version_needs_a_name_of_its_own(at: Site, name: str, error: type[SyncdError]) -> None:
    with pytest.raises(error):
        new_version(at.context.topology, name)


class Silent:
    """A registry that cannot be reached."""

    def discover(self, model: ModelName | None = None) -> list[Candidate]:
        raise Unavailable(f"no answer about {model}")

    def resolve(self, model: ModelName, ref: str) -> Revision:
        raise Unavailable(f"no answer about {model}@{ref}")


def silent(at: Site) -> Site:
    registry: Registry = Silent()  # type: ignore[assignment]
    return site(at.world, at.state, topology=at.context.topology, registries={"models": registry})


def test_the_only_split_is_taken_though_its_registry_is_silent(at: Site) -> None:
    assert str(named_version(silent(at).context, "sdxl-v1")) == "sdxl@v1"
    with pytest.raises(Unavailable):
        named_version(silent(at).context, "sdxl-turbo-v7")
    with pytest.raises(Unavailable):
        named_version(silent(at).context, "sdxl")


def test_versions_are_of_the_registry_and_the_record(on_sqlite: Site) -> None:
    from syncd.reconcile.requests import operations

    here = on_sqlite
    for version in ("v1", "v2", "v3"):
        here.world.deliver(SDXL, version)
    operations.publish(here.requester, SDXL, "v1")
    here.settle(patient=True)
    operations.publish(here.requester, SDXL, "v2")
    here.settle(patient=True)
    found = model_versions(here.context, ModelName(SDXL))
    rows = found["versions"]
    assert isinstance(rows, list)
    assert [row["version"] for row in rows] == ["v3", "v2", "v1"]
    assert [(row["sealed"], row["live"]) for row in rows] == [
        ([], []),
        (["hz", "sg"], ["draw-hz", "draw-sg"]),
        (["hz", "sg"], []),
    ]
    assert len({row["size_bytes"] for row in rows}) == 1
    assert rows[0]["recorded_at"] is None
    assert rows[2]["digest"] == here.digest(SDXL, "v1")
    cut_off = model_versions(silent(here).context, ModelName(SDXL))
    assert "no answer about sdxl" in str(cut_off["unreached"])
    assert [(row["version"], row["in_registry"]) for row in cut_off["versions"]] == [("v2", False), ("v1", False)]
    with pytest.raises(NotFound, match="no binding serves the model 'nobody'"):
        model_versions(here.context, ModelName("nobody"))
