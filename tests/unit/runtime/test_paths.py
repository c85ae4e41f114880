"""Paths into JSON: values, and where a document ends."""

from __future__ import annotations

import pytest
from syncd.errors import Invalid
from syncd.runtime.paths import find, parse

DOCUMENT = {
    "images": [{"seed": 7, "scores": [0.25, 0.5]}, {"seed": 8}],
    "": 1,
    "a b": {"c-d": None},
    "0": "text",
    "flag": True,
    "images[0]": "not this",
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$", DOCUMENT),
        ("images[1].seed", 8),
        ("$.images[0].scores[1]", 0.5),
        ("images[0].scores", [0.25, 0.5]),
        ("a b.c-d", None),
        ("0", "text"),
        ("$.flag", True),
    ],
)
def test_a_path_finds_its_value(path: str, found: object) -> None:
    assert find(DOCUMENT, path) == found


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("nothing", r"\$ has no 'nothing'"),
        ("images[2]", r"\$\.images is a list of 2"),
        ("images.seed", r"\$\.images is a list"),
        ("images[0][0]", r"\$\.images\[0\] is an object"),
        ("flag.on", r"\$\.flag is true or false"),
        ("0[0]", r"\$\.0 is text"),
        ("images[0].seed.x", r"\$\.images\[0\]\.seed is a number"),
        ("a b.c-d.e", r"\$\.a b\.c-d is null"),
    ],
)
def test_the_error_for_a_missing_value_says_where_the_document_ends(path: str, where: str) -> None:
    with pytest.raises(LookupError, match=where):
        find(DOCUMENT, path)


def test_the_whole_document_may_be_a_list_or_a_value() -> None:
    assert find([[1, 2]], "$[0][1]") == 2
    assert find([[1, 2]], "[0][1]") == 2
    assert find("text", "$") == "text"


@pytest.mark.parametrize(
    "path", ["", ".a", "a.", "a..b", "$.", "a[", "a[]", "a[-1]", "a[01]", "a[x]", "a]b", "a[0]b", "a[9999999999]"]
)
def test_an_invalid_path_is_refused(path: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(path)
    assert refused.value.hint


def test_a_path_is_read_into_its_steps() -> None:
    assert parse("$.a[0].b") == parse("a[0].b") == ("a", 0, "b")
