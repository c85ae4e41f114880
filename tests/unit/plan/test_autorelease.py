"""Selection of the version that automation releases."""

from __future__ import annotations

from syncd.artifact.names import parse_model, parse_version
from syncd.plan.autorelease import pick
from syncd.values.source import Candidate, Follow


def candidates(*versions: str) -> list[Candidate]:
    return [Candidate(parse_model("sdxl"), parse_version(version)) for version in versions]


def test_the_newest_candidate_is_requested() -> None:
    found = pick(candidates("v1", "v2"), released=(), last=())
    assert found is not None
    assert found.version == "v2"


def test_versions_that_appeared_while_nobody_looked_are_passed_over() -> None:
    assert pick(candidates("v1", "v2", "v3"), released={"v1", "v3"}, last=()) is None


def test_what_was_released_before_is_not_wished_for_again() -> None:
    assert pick(candidates("v1"), released={"v1"}, last=()) is None


def test_an_empty_registry_gives_nothing() -> None:
    assert pick([], released=(), last=()) is None


def marked(version: str, follow: Follow) -> Candidate:
    return Candidate(parse_model("sdxl"), parse_version(version), follow)


def test_what_is_not_followed_is_passed_over() -> None:
    found = [*candidates("v1", "v2"), marked("v3", Follow.NOT)]
    chosen = pick(found, released=(), last=())
    assert chosen is not None
    assert chosen.version == "v2"
    assert pick([marked("v3", Follow.NOT)], released=(), last=()) is None


def test_what_a_ref_was_moved_back_to_is_requested_again() -> None:
    named = marked("v1", Follow.WHEN_NAMED)
    assert pick([named], released={"v1", "v2"}, last={"v2"}) == named


def test_what_a_ref_names_still_is_not_begun_again() -> None:
    named = marked("v1", Follow.WHEN_NAMED)
    assert pick([named], released={"v1"}, last={"v1"}) is None
    assert pick([named], released={"v1", "v2"}, last={"v2", "v1"}) is None
