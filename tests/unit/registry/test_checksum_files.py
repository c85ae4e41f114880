"""`MANIFEST.json` and `SHA256SUMS`, as tools and people write them."""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncd.artifact.names import ModelName, VersionName, parse_path, parse_paths
from syncd.errors import Invalid, Unavailable
from syncd.registry.checksum_files import parse_manifest, parse_sums

A = "a" * 64
SDXL, V1 = ModelName("sdxl"), VersionName("v1")


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (f"{A}  weights.bin\n", "weights.bin"),
        (f"{A} *weights.bin\n", "weights.bin"),
        (f"{A}  ./sub/weights.bin\n", "sub/weights.bin"),
        (f"{A.upper()}  two words  and spaces\n", "two words  and spaces"),
        (f"\n{A}  x\n\n", "x"),
    ],
)
def test_a_line_of_sha256sum_names_a_file(line: str, path: str) -> None:
    (listed,) = parse_sums(line.encode())
    assert (listed.path, listed.size_bytes) == (path, None)
    assert listed.sha256 is not None
    assert listed.sha256.hex == A


@pytest.mark.parametrize(("name", "fault"), [("a\\\\b", "another system"), ("a\\nb", "control"), ("a\\rb", "control")])
def test_an_escaped_name_is_unescaped_and_then_checked(name: str, fault: str) -> None:
    (listed,) = parse_sums(f"\\{A}  {name}\n".encode())
    with pytest.raises(Invalid, match=fault):
        parse_path(listed.path)


def test_an_escape_that_sha256sum_does_not_write_stands_for_itself() -> None:
    (listed,) = parse_sums(f"\\{A}  a\\tb\n".encode())
    assert listed.path == "a\\tb"


def test_the_output_of_sha256sum_is_read(tmp_path: Path) -> None:
    names = ["plain", "with space", "é", "*star", "sub/x"]
    (tmp_path / "sub").mkdir()
    for name in names:
        (tmp_path / name).write_text(name)
    for mode in ("--text", "--binary"):
        run = subprocess.run(["sha256sum", mode, "--", *names], cwd=tmp_path, capture_output=True, check=True)
        assert [listed.path for listed in parse_sums(run.stdout)] == names


@pytest.mark.parametrize(
    "line", ["x", f"{A} x", f"{A[:-1]}  x", f"{A}  ", f"SHA256 (x) = {A}", f"{A[:-1]}g  x", f"# {A}  x"]
)
def test_a_line_that_is_something_else_is_refused_with_its_number(line: str) -> None:
    with pytest.raises(Invalid, match=r"line 2: expected .*, got"):
        parse_sums(f"{A}  first\n{line}\n".encode())


def test_sums_that_end_in_a_line_are_being_written() -> None:
    with pytest.raises(Unavailable, match="middle of a line"):
        parse_sums(f"{A}  x".encode())


def test_sums_of_nothing_list_nothing() -> None:
    assert parse_sums(b"") == ()


@pytest.mark.parametrize("text", [f"{A}  x\n{A}  X\n", f"{A}  x\n{A}  x/y\n", f"{A}  /x\n", f"{A}  ../x\n"])
def test_names_in_sums_are_read_as_they_are_and_checked_where_files_are_selected(text: str) -> None:
    listed = parse_sums(text.encode())
    with pytest.raises(Invalid):
        parse_paths(each.path for each in listed)


def test_a_name_that_is_in_sums_twice_is_refused() -> None:
    with pytest.raises(Invalid, match="x is listed twice"):
        parse_sums(f"{A}  x\n{A}  x\n".encode())


def test_lists_that_are_not_utf_8_are_refused_at_the_byte() -> None:
    with pytest.raises(Invalid, match="SHA256SUMS is not UTF-8 at byte 66"):
        parse_sums(A.encode() + b"  \xff\n")
    with pytest.raises(Invalid, match=r"MANIFEST\.json is not UTF-8 at byte 1"):
        parse_manifest(b'"\xff"', SDXL, V1)


def test_a_manifest_of_others_is_read_with_and_without_digests() -> None:
    files = [
        {"path": "./a", "size": 1, "sha256": "sha256:" + A},
        {"path": "b", "size": 0},
        {"path": "c", "size": 2, "sha256": None},
    ]
    listed = parse_manifest(json.dumps({"files": files, "more": 1}).encode(), SDXL, V1)
    assert [(item.path, item.size_bytes, item.sha256 and item.sha256.hex) for item in listed] == [
        ("a", 1, A),
        ("b", 0, None),
        ("c", 2, None),
    ]


def test_our_own_manifest_must_be_of_this_version() -> None:
    document = {
        "files": [{"path": "a", "sha256": A, "size": 1}],
        "format": "syncd/manifest/v1",
        "model": "sdxl",
        "version": "v2",
    }
    with pytest.raises(Invalid, match="expected sdxl@v1, got sdxl@v2"):
        parse_manifest(json.dumps(document).encode(), SDXL, V1)
    (listed,) = parse_manifest(json.dumps(document).encode(), SDXL, VersionName("v2"))
    assert listed.path == "a"
    with pytest.raises(Invalid, match="format"):
        parse_manifest(json.dumps(document | {"format": "syncd/manifest/v9"}).encode(), SDXL, V1)


@pytest.mark.parametrize("text", ["", "{", '{"files": [', "nonsense"])
def test_a_manifest_that_is_not_json_is_being_written(text: str) -> None:
    with pytest.raises(Unavailable, match="not JSON"):
        parse_manifest(text.encode(), SDXL, V1)


def test_a_manifest_nested_without_end_is_refused() -> None:
    with pytest.raises(Invalid, match="nested too deeply"):
        parse_manifest(b"[" * 100_000, SDXL, V1)


@pytest.mark.parametrize("document", [[], {}, {"files": {}}, 5, None, "files"])
def test_a_manifest_without_files_is_refused(document: object) -> None:
    with pytest.raises(Invalid, match="no list 'files'"):
        parse_manifest(json.dumps(document).encode(), SDXL, V1)


@pytest.mark.parametrize(
    "file",
    [
        "a",
        {},
        {"path": "a"},
        {"path": 1, "size": 1},
        {"path": "a", "size": "1"},
        {"path": "a", "size": True},
        {"path": "a", "size": 1.0},
        {"path": "a", "size": -1},
        {"path": "a", "size": 1, "sha256": 5},
    ],
)
def test_a_file_of_another_shape_is_refused_with_its_place(file: object) -> None:
    with pytest.raises(Invalid, match=r"files\[1\]: expected "):
        parse_manifest(json.dumps({"files": [{"path": "x", "size": 0}, file]}).encode(), SDXL, V1)


@pytest.mark.parametrize("sha256", ["", "abc", "md5:" + A])
def test_a_digest_that_is_none_is_refused(sha256: str) -> None:
    with pytest.raises(Invalid, match="expected a sha256"):
        parse_manifest(json.dumps({"files": [{"path": "x", "size": 0, "sha256": sha256}]}).encode(), SDXL, V1)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_but_nothing_else(data: bytes) -> None:
    for parse in (parse_sums, lambda text: parse_manifest(text, SDXL, V1)):
        with suppress(Invalid, Unavailable):
            parse(data)


@pytest.mark.parametrize("depth", [950, 980, 985, 990, 992, 995, 100_000])
def test_a_list_that_is_nested_without_end_is_refused_at_whatever_depth(depth: int) -> None:
    body = b'{"files": [' + b"[" * depth + b"]" * depth + b"]}"
    with pytest.raises(Invalid, match=r"MANIFEST\.json"):
        parse_manifest(body, SDXL, V1)
