"""File filters, and their marks in pins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncd.artifact.names import parse_version
from syncd.errors import Invalid
from syncd.registry.rules.file_filters import FileFilter, as_published, with_filter_mark, without_filter_mark
from syncd.values.source import Revision

REVISION = Revision(parse_version("v1"), "sha256:ab")
EVERYTHING = FileFilter()


@pytest.mark.parametrize(
    ("taking", "taken", "left"),
    [
        (EVERYTHING, ["a", "b/c"], []),
        (FileFilter(take=("*.json",)), ["a.json", "unet/a.json"], ["a.bin", "json", "a.json/b"]),
        (FileFilter(take=("unet/*.json",)), ["unet/a.json"], ["a.json", "unet/x/a.json", "x/unet/a.json"]),
        (FileFilter(leave=("onnx/",)), ["onnx", "a/onnx", "a/onnx/b"], ["onnx/a", "onnx/b/c"]),
        (FileFilter(leave=("*/fp16/",)), ["fp16/a", "unet/a"], ["unet/fp16/a", "vae/fp16/b/c"]),
        (FileFilter(take=("*.json",), leave=("config.json",)), ["a.json"], ["config.json", "unet/config.json", "b"]),
    ],
)
def test_files_are_selected_by_name_by_path_and_by_directory(
    taking: FileFilter, taken: list[str], left: list[str]
) -> None:
    assert [path for path in (*taken, *left) if taking.takes(path)] == taken


def test_a_pin_of_everything_is_the_registrys_own() -> None:
    assert with_filter_mark(REVISION, EVERYTHING) == REVISION
    assert without_filter_mark(REVISION) == (REVISION, EVERYTHING)


_PATTERNS = st.lists(st.text(min_size=1, max_size=20), max_size=3).map(tuple)


@given(_PATTERNS, _PATTERNS)
def test_a_pin_has_its_file_filter(take: tuple[str, ...], leave: tuple[str, ...]) -> None:
    assert without_filter_mark(with_filter_mark(REVISION, FileFilter(take, leave))) == (
        REVISION,
        FileFilter(take, leave),
    )


@pytest.mark.parametrize("mark", ["{", "{}", '{"take":5,"leave":[]}'])
def test_a_mark_that_is_not_ours_is_refused(mark: str) -> None:
    with pytest.raises(Invalid, match="not a file filter"):
        without_filter_mark(Revision(REVISION.version, f"sha256:ab {mark}"))


@pytest.mark.parametrize("then", [EVERYTHING, FileFilter(take=("*.bin",))])
@pytest.mark.parametrize("now", [EVERYTHING, FileFilter(leave=("*.md",))])
def test_a_published_version_keeps_its_file_filter(then: FileFilter, now: FileFilter) -> None:
    changed = Revision(REVISION.version, "sha256:cd")
    assert as_published(with_filter_mark(REVISION, now), with_filter_mark(REVISION, then).pin) == with_filter_mark(
        REVISION, then
    )
    assert as_published(with_filter_mark(changed, now), with_filter_mark(REVISION, then).pin) == with_filter_mark(
        changed, then
    )
    assert as_published(with_filter_mark(REVISION, now), None) == with_filter_mark(REVISION, now)
