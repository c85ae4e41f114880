"""Which version automation wishes for."""

from __future__ import annotations

from syncd.artifact.names import parse_model, parse_version
from syncd.plan.desired import wish
from syncd.registry.base import Candidate


def candidates(*versions: str) -> list[Candidate]:
    return [Candidate(parse_model("sdxl"), parse_version(version)) for version in versions]


def test_the_newest_candidate_is_wished_for() -> None:
    found = wish(candidates("v1", "v2"), released=(), held=False)
    assert found is not None
    assert found.version == "v2"


def test_versions_that_appeared_while_nobody_looked_are_passed_over() -> None:
    assert wish(candidates("v1", "v2", "v3"), released={"v1", "v3"}, held=False) is None


def test_what_was_released_before_is_not_wished_for_again() -> None:
    assert wish(candidates("v1"), released={"v1"}, held=False) is None


def test_a_held_model_gets_nothing() -> None:
    assert wish(candidates("v1"), released=(), held=True) is None


def test_an_empty_registry_gives_nothing() -> None:
    assert wish([], released=(), held=False) is None
