"""External names: which are accepted, and which are refused with the name in the message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncd.artifact.names import (
    MODEL_MAX,
    PATH_DEPTH_MAX,
    PATH_MAX_BYTES,
    VERSION_MAX,
    _refuse_collisions,
    parse_model,
    parse_model_at_version,
    parse_path,
    parse_paths,
    parse_version,
)
from syncd.errors import Invalid


@pytest.mark.parametrize("text", ["sdxl", "team/sdxl", "a", "0", "SDXL-1.0_fp16", "a.b/c.d", "m" * MODEL_MAX])
def test_a_models_name_is_let_in(text: str) -> None:
    assert parse_model(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-a",
        ".a",
        "_a",
        "a/",
        "/a",
        "a/b/c",
        "a//b",
        "a/.b",
        "a..b",
        "a b",
        "a\n",
        "é",
        "a@b",
        "m" * (MODEL_MAX + 1),
    ],
)
def test_a_models_name_is_refused_with_advice(text: str) -> None:
    with pytest.raises(Invalid, match=r"model name .* is not allowed") as refusal:
        parse_model(text)
    assert "letters, digits" in refusal.value.hint


def test_a_version_where_a_model_is_expected_is_answered_with_the_model() -> None:
    with pytest.raises(Invalid) as refusal:
        parse_model("team/sdxl@v2")
    assert refusal.value.hint.startswith("for the model alone write team/sdxl: letters, digits")


@pytest.mark.parametrize("text", ["v1", "1.4.0+cu12", "2026-01-01_a", "v" * VERSION_MAX])
def test_a_versions_name_is_let_in(text: str) -> None:
    assert parse_version(text) == text


@pytest.mark.parametrize("text", ["", "-1", ".1", "+1", "a/b", "1..2", "a b", "v1\x00", "é", "v" * (VERSION_MAX + 1)])
def test_a_versions_name_is_refused_with_advice(text: str) -> None:
    with pytest.raises(Invalid, match=r"version name .* is not allowed") as refusal:
        parse_version(text)
    assert "letters, digits" in refusal.value.hint


def test_a_model_at_a_version_is_read_as_people_type_it() -> None:
    assert parse_model_at_version("team/sdxl@v2") == ("team/sdxl", "v2")


@pytest.mark.parametrize("text", ["sdxl", "", "sdxl@", "@v1", "sdxl@v1@v2", "a b@v1"])
def test_what_does_not_name_both_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_model_at_version(text)


def test_a_name_without_a_version_is_refused_with_the_form() -> None:
    with pytest.raises(Invalid, match="'sdxl' has no version") as refusal:
        parse_model_at_version("sdxl")
    assert refusal.value.hint == "write MODEL@VERSION, for example sdxl@v2"


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "a/b/c",
        ".gitattributes",
        "with space",
        "é",
        "模型/权重.bin",
        "a..b",
        "...",
        "sub/.syncd",
        ".syncd2",
        "p" * PATH_MAX_BYTES,
        "/".join("d" * PATH_DEPTH_MAX),
    ],
)
def test_a_files_path_is_let_in(text: str) -> None:
    assert parse_path(text) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        ("a\x00b", "it contains NUL"),
        ("/etc/passwd", "it is absolute"),
        ("a\\b", "it is a path of another system"),
        ("C:windows", "it is a path of another system"),
        ("c:/windows", "it is a path of another system"),
        ("../a", "it has an empty part, '.' or '..'"),
        ("a/../b", "it has an empty part, '.' or '..'"),
        ("a/./b", "it has an empty part, '.' or '..'"),
        ("a//b", "it has an empty part, '.' or '..'"),
        ("a/", "it has an empty part, '.' or '..'"),
        ("a\nb", "it contains control characters"),
        ("a\x1b[31m", "it contains control characters"),
        ("a\u202eb", "it contains control characters"),
        ("a\u200bb", "it contains control characters"),
        ("a\udcffb", "it is not valid UTF-8"),
        ("e\u0301", "it is not in Unicode's composed form (NFC)"),
        ("p" * (PATH_MAX_BYTES + 1), f"it is longer than {PATH_MAX_BYTES} bytes"),
        ("é" * (PATH_MAX_BYTES // 2 + 1), f"it is longer than {PATH_MAX_BYTES} bytes"),
        ("/".join("d" * (PATH_DEPTH_MAX + 1)), f"it is deeper than {PATH_DEPTH_MAX} directories"),
        (".syncd/manifest.json", ".syncd/ is syncd's own"),
        (".SYNCD", ".syncd/ is syncd's own"),
    ],
)
def test_a_files_path_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(Invalid) as refusal:
        parse_path(text)
    assert refusal.value.message.endswith(f"is refused: {reason}")
    assert refusal.value.hint == "rename it at the source"
    assert refusal.value.message.isprintable()
    assert len(refusal.value.message) < 250


@given(st.text(max_size=30))
def test_a_path_that_is_let_in_stays_below_its_directory(text: str) -> None:
    try:
        path = parse_path(text)
    except Invalid:
        return
    assert not path.startswith("/")
    assert not {"", ".", ".."} & set(path.split("/"))
    assert path.encode().decode() == path


def test_all_paths_of_a_version_are_let_in_in_their_order() -> None:
    assert parse_paths(["b", "a/c", "a/b"]) == ("b", "a/c", "a/b")
    assert parse_paths([]) == ()


@pytest.mark.parametrize("texts", [("a", "A"), ("a", "a"), ("straße", "STRASSE"), ("d/a", "D/A")])
def test_paths_that_collide_are_refused_with_both_names(texts: tuple[str, str]) -> None:
    with pytest.raises(Invalid, match=f"'{texts[0]}' and '{texts[1]}' collide"):
        parse_paths(texts)


@pytest.mark.parametrize("texts", [("a", "a/b"), ("a/b/c/d", "A/B"), ("x", "X/y/z")])
def test_a_file_that_is_also_a_directory_is_refused(texts: tuple[str, str]) -> None:
    with pytest.raises(Invalid, match="is a file and the directory of"):
        parse_paths(texts)


def test_one_bad_path_among_many_is_named() -> None:
    with pytest.raises(Invalid, match=r"'\.\./b'"):
        parse_paths(["a", "../b", "c"])


def test_paths_whose_hashes_are_equal_by_chance_are_compared_themselves() -> None:
    """`check_paths` goes there when two hashes are equal: as good as never, so it is called here."""
    _refuse_collisions(["a/b", "a/c", "d"])
    for texts in (["a", "A"], ["a", "a/b"]):
        with pytest.raises(Invalid):
            _refuse_collisions(texts)


@given(st.lists(st.text("aAbß/", min_size=1, max_size=4), max_size=6))
def test_what_collides_is_found_as_by_comparing_all_with_all(texts: list[str]) -> None:
    def is_refused() -> bool:
        try:
            paths = [parse_path(text).casefold() for text in texts]
        except Invalid:
            return True
        pairs = [(one, other) for at, one in enumerate(paths) for other in paths[at + 1 :]]
        return any(a == b or a.startswith(f"{b}/") or b.startswith(f"{a}/") for a, b in pairs)

    if is_refused():
        with pytest.raises(Invalid):
            parse_paths(texts)
    else:
        assert list(parse_paths(texts)) == texts
