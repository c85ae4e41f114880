"""JSON from outside: what it makes is what json.loads makes, and what would fill memory is refused while it is made."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncd.artifact.bounded_json import DEPTH_MAX, parse_bounded, parse_bounded_bytes
from syncd.errors import Invalid

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=40,
)
# The pieces of JSON, in any order: mostly not JSON, and often nearly.
SOUP = st.lists(
    st.sampled_from(["{", "}", "[", "]", ",", ":", '"a"', '"a":', "1", "-", " ", "null", '"', "\\", '{"a":1}', "[1]"]),
    max_size=12,
).map("".join)


def read(text: str, size: int) -> object:
    data = text.encode()
    return parse_bounded((data[at : at + size] for at in range(0, len(data), size)), "it")


@given(VALUES, st.integers(1, 9), st.booleans())
def test_what_the_library_writes_is_read_as_the_library_reads_it(value: object, size: int, is_ascii: bool) -> None:  # noqa: FBT001 -- drawn
    text = json.dumps(value, ensure_ascii=is_ascii, indent=size if is_ascii else None)
    try:
        expected = json.loads(text.encode())
    except UnicodeEncodeError:
        return
    assert repr(read(text, size)) == repr(expected)


@given(SOUP, st.integers(1, 9))
def test_what_the_library_refuses_is_refused(text: str, size: int) -> None:
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(ValueError):
            read(text, size)
    else:
        assert repr(read(text, size)) == repr(expected)


def test_rows_may_be_made_into_something_smaller() -> None:
    found = parse_bounded_bytes(b'{"a": {"x": [1, 2]}, "b": {"x": {}}}', "it", row=len)
    assert found == {"a": 1, "b": {"x": 0}}


def test_names_that_are_there_twice_are_refused_where_that_is_asked_for() -> None:
    data = b'{"a": {}, "a": {"x": {}}}'
    assert parse_bounded_bytes(data, "it") == {"a": {"x": {}}}
    with pytest.raises(ValueError, match="'a' twice"):
        parse_bounded_bytes(data, "it", distinct=True)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_what_is_nested_too_deeply_is_refused(opening: str) -> None:
    closing = "]" if opening == "[" else "}"
    assert read(opening * DEPTH_MAX + "1" + closing * DEPTH_MAX, 1000)
    with pytest.raises(Invalid, match="nested too deeply"):
        read(opening * (DEPTH_MAX + 1), 1000)


PROBE = """
import itertools, re, sys
from syncd.artifact.bounded_json import parse_bounded
from syncd.errors import Invalid
def peak():  # ru_maxrss would have that of the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
piece = eval(sys.argv[1])
before = peak()
pieces = itertools.chain((b"[",), itertools.repeat(piece, int(sys.argv[2])), (b"0]",))
try:
    parse_bounded(pieces, "it")
except Invalid as error:
    print("refused", end=" ")
else:
    print("accepted", end=" ")
print((peak() - before) // 1024)
"""
ENTRY = 'b\'{"path":"unet/model-00001-of-99999.safetensors","size":123456789,"sha256":"\' + b"a" * 64 + b\'"},\''


def peak(piece: str, times: int) -> tuple[str, int]:
    """What became of a list of so many pieces, and by how many MiB it raised the peak RSS of a child process."""
    run = subprocess.run([sys.executable, "-c", PROBE, piece, str(times)], capture_output=True, check=True, text=True)
    verdict, mib = run.stdout.split()
    return verdict, int(mib)


@pytest.mark.parametrize(
    ("piece", "times"),
    [
        ("b'[],' * 65536", 320),
        ("b'{},' * 65536", 320),
        ("b'{\"a\":1},' * 65536", 112),
        ("b'1.5,' * 65536", 240),
        ("b'{' + b','.join(b'\"%d\":1' % n for n in range(9000)) + b'},'", 640),
        ("b'[' + b'1,' * 65536 + b'0],'", 480),
        ("'[\"\U0001f600'.encode() + b'a' * (900 << 10) + b'\"],'", 70),
        ("b'\"' + b'a' * (2 << 20)", 30),
    ],
    ids=["lists", "objects", "members", "numbers", "names", "lists of numbers", "wide texts", "a text"],
)
def test_a_document_that_would_fill_memory_is_refused_while_it_is_made(piece: str, times: int) -> None:
    verdict, mib = peak(piece, times)
    assert (verdict, mib <= 64) == ("refused", True), f"{verdict}, {mib} MiB"


def test_a_hundred_thousand_files_are_read_in_bounded_memory() -> None:
    verdict, mib = peak(ENTRY, 100_000)
    assert (verdict, mib <= 64) == ("accepted", True), f"{verdict}, {mib} MiB"


def test_a_flat_object_that_is_very_long_is_built_entry_by_entry() -> None:
    made = {f"k{number}": number for number in range(4000)}
    assert read(json.dumps(made), 1 << 20) == made


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1 2]", "expected ',' between the items"),
        ("{1:2}", "expected a name"),
        ('{"a":1 "b":2}', "expected a name"),
        ('{"a" 1}', "expected a name"),
        ('{"a":1,}', "unexpected '}'"),
        ("[1}", "unexpected '}'"),
        ("]", "unexpected ']'"),
        ("[:1]", "unexpected ':'"),
        ("[,1]", "unexpected ','"),
        (",", "unexpected ','"),
        ("1 2", "something follows its end"),
        ("[1", "ends too early"),
        ("", "ends too early"),
        ('["a', "a text without an end"),
        ("[?]", "Expecting value"),
    ],
)
def test_each_malformed_form_is_refused_by_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read(text, 4)


def test_a_row_becomes_what_its_reader_makes_of_it() -> None:
    made = parse_bounded([b'[{"a":1,"b":"x"}]'], "it", row=lambda pairs: tuple(value for _, value in pairs))
    assert made == [(1, "x")]
    assert parse_bounded([b'[{"a":1}]'], "it", row=str) == ["[('a', 1)]"]
