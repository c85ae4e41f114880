"""Which files are taken, and how a pin says so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncd.artifact.names import parse_version
from syncd.errors import Invalid
from syncd.registry.base import Revision
from syncd.registry.taking import Taking, as_published, marked, unmarked

REVISION = Revision(parse_version("v1"), "sha256:ab")
EVERYTHING = Taking()


@pytest.mark.parametrize(
    ("taking", "taken", "left"),
    [
        (EVERYTHING, ["a", "b/c"], []),
        (Taking(take=("*.json",)), ["a.json", "unet/a.json"], ["a.bin", "json", "a.json/b"]),
        (Taking(take=("unet/*.json",)), ["unet/a.json"], ["a.json", "unet/x/a.json", "x/unet/a.json"]),
        (Taking(leave=("onnx/",)), ["onnx", "a/onnx", "a/onnx/b"], ["onnx/a", "onnx/b/c"]),
        (Taking(leave=("*/fp16/",)), ["fp16/a", "unet/a"], ["unet/fp16/a", "vae/fp16/b/c"]),
        (Taking(take=("*.json",), leave=("config.json",)), ["a.json"], ["config.json", "unet/config.json", "b"]),
    ],
)
def test_files_are_taken_by_name_by_path_and_by_directory(taking: Taking, taken: list[str], left: list[str]) -> None:
    assert [path for path in (*taken, *left) if taking.takes(path)] == taken


def test_a_pin_of_everything_is_the_registrys_own() -> None:
    assert marked(REVISION, EVERYTHING) == REVISION
    assert unmarked(REVISION) == (REVISION, EVERYTHING)


_PATTERNS = st.lists(st.text(min_size=1, max_size=20), max_size=3).map(tuple)


@given(_PATTERNS, _PATTERNS)
def test_a_pin_says_what_is_taken(take: tuple[str, ...], leave: tuple[str, ...]) -> None:
    assert unmarked(marked(REVISION, Taking(take, leave))) == (REVISION, Taking(take, leave))


@pytest.mark.parametrize("mark", ["{", "{}", '{"take":5,"leave":[]}'])
def test_a_mark_that_is_not_ours_is_refused(mark: str) -> None:
    with pytest.raises(Invalid, match="does not say"):
        unmarked(Revision(REVISION.version, f"sha256:ab {mark}"))


@pytest.mark.parametrize("then", [EVERYTHING, Taking(take=("*.bin",))])
@pytest.mark.parametrize("now", [EVERYTHING, Taking(leave=("*.md",))])
def test_what_was_published_keeps_what_was_taken_then(then: Taking, now: Taking) -> None:
    changed = Revision(REVISION.version, "sha256:cd")
    assert as_published(marked(REVISION, now), marked(REVISION, then).pin) == marked(REVISION, then)
    assert as_published(marked(changed, now), marked(REVISION, then).pin) == marked(changed, then)
    assert as_published(marked(REVISION, now), None) == marked(REVISION, now)
