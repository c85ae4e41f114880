"""Configuration fixtures: good ones load; each bad one is refused with exactly the message beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from syncd.config import ConfigProblems, load

FIXTURES = Path(__file__).parents[2] / "config"
ENVIRON = {"SYNCD_OSS_SECRET": "hunter3", "SYNCD_EMPTY": ""}
GOOD = sorted(path.name for path in FIXTURES.glob("*.good.toml"))
BAD = sorted(path.name for path in FIXTURES.glob("*.bad.toml"))


@pytest.mark.parametrize("name", GOOD)
def test_a_good_configuration_loads(name: str) -> None:
    assert load(FIXTURES / name, ENVIRON).path.name == name


@pytest.mark.parametrize("name", BAD)
def test_a_bad_configuration_is_refused_with_every_problem(name: str) -> None:
    with pytest.raises(ConfigProblems) as refusal:
        load(FIXTURES / name, ENVIRON)
    wanted = (FIXTURES / name).with_suffix(".txt").read_text()
    assert refusal.value.message + "\n" == wanted
    assert len(refusal.value.problems) == wanted.count("\n")
    assert refusal.value.hint


@pytest.mark.parametrize("name", BAD)
def test_no_refusal_prints_a_secret(name: str) -> None:
    with pytest.raises(ConfigProblems) as refusal:
        load(FIXTURES / name, ENVIRON)
    assert "hunter" not in f"{refusal.value!r} {refusal.value.message}"


@pytest.mark.parametrize("name", BAD)
def test_each_problem_as_json_says_where_it_is_what_is_there_and_what_to_do(name: str) -> None:
    with pytest.raises(ConfigProblems) as refusal:
        load(FIXTURES / name, ENVIRON)
    found = refusal.value.details["problems"]
    assert isinstance(found, list)
    assert len(found) == len(refusal.value.problems)
    for each in found:
        assert list(each) == ["file", "key", "expected", "got", "hint"]
        assert each["file"] == name
        assert each["got"]
        assert each["expected"] or each["hint"]
        assert each["key"] or len(found) == 1, "only a file that is no TOML has no key"
    assert "hunter" not in f"{found}"


def test_every_fixture_has_a_part_in_a_test() -> None:
    bad = {Path(name).stem for name in BAD}
    assert {path.stem for path in FIXTURES.glob("*.txt")} == bad
    assert {path.name for path in FIXTURES.iterdir()} == {*GOOD, *BAD, *(f"{stem}.txt" for stem in bad)}
    assert len(GOOD) >= 5
    assert len(BAD) >= 75
