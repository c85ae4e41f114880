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


def test_every_fixture_has_a_part_in_a_test() -> None:
    bad = {Path(name).stem for name in BAD}
    assert {path.stem for path in FIXTURES.glob("*.txt")} == bad
    assert {path.name for path in FIXTURES.iterdir()} == {*GOOD, *BAD, *(f"{stem}.txt" for stem in bad)}
    assert len(GOOD) >= 5
    assert len(BAD) >= 25
