"""Tar reader: archives of common tools are read, entries other than files and directories are refused."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncd.errors import Corrupt, Invalid
from syncd.registry.listing_cache import selected_files
from syncd.registry.oci.tarball import TarMember, members
from syncd.values.source import SourceFile

from tests.emulators.tars import tar_of, tar_with

LONG = "/".join(["deep" * 10] * 8) + "/weights.bin"
FILES = {"config.json": b"{}", "empty": b"", "unet/w.bin": bytes(range(256)) * 40, LONG: b"1", "ü/模型.bin": b"22"}


class Dripping:
    """A stream that returns a few bytes at a time."""

    def __init__(self, data: bytes, at_once: int = 700) -> None:
        self._data = io.BytesIO(data)
        self._at_once = at_once

    def readinto(self, buffer: memoryview) -> int:
        return self._data.readinto(buffer[: self._at_once])

    def __enter__(self) -> Dripping:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


def found(data: bytes) -> list[TarMember]:
    return list(members(Dripping(data), "t"))


def agrees(data: bytes, files: Mapping[str, bytes]) -> None:
    seen = found(data)
    assert {each.path: each.size_bytes for each in seen} == {path: len(content) for path, content in files.items()}
    for each in seen:
        assert data[each.offset_bytes : each.offset_bytes + each.size_bytes] == files[each.path]
        assert each.sha256.hex == hashlib.sha256(files[each.path]).hexdigest()


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_the_files_of_a_tar_have_offsets_and_digests(format: int) -> None:  # noqa: A002 -- as there
    agrees(tar_of(FILES, format), FILES)


def test_an_old_tar_with_a_prefix_is_read() -> None:
    files = {path: data for path, data in FILES.items() if path.isascii() and len(path) < 256}
    files["a" * 90 + "/" + "b" * 90] = b"5"
    agrees(tar_of(files, tarfile.USTAR_FORMAT), files)


_PART = st.text(st.characters(categories=("Ll", "Nd")), min_size=1, max_size=60).map(lambda part: f"a{part}")


@given(st.dictionaries(st.lists(_PART, min_size=1, max_size=5).map("/".join), st.binary(max_size=1500), max_size=5))
def test_whatever_is_packed_is_found(files: dict[str, bytes]) -> None:
    if any(f"{path}/".startswith(f"{other}/") for path in files for other in files if path != other):
        return
    for path in list(files):
        if not path.isascii():  # whether such a name may be there is for `parse_path` to say
            del files[path]
    agrees(tar_of(files), files)


def test_a_name_that_begins_with_a_dot_and_a_slash_is_the_name() -> None:
    assert [each.path for each in found(tar_with("./a/b", tarfile.REGTYPE))] == ["a/b"]
    assert found(tar_with("./", tarfile.DIRTYPE)) == []


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (tarfile.LNKTYPE, "is a link"),
        (tarfile.SYMTYPE, "is a symbolic link"),
        (tarfile.CHRTYPE, "is not a file"),
        (tarfile.FIFOTYPE, "is not a file"),
        (tarfile.GNUTYPE_SPARSE, "is a sparse file"),
        (b"Z", "is not a file"),
    ],
)
def test_an_entry_that_is_neither_a_file_nor_a_directory_is_listed_with_its_refusal(kind: bytes, message: str) -> None:
    assert [(each.path, f"is {each.refusal}") for each in found(tar_with("evil", kind, "/etc/passwd"))] == [
        ("evil", message)
    ]


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "a\\evil", ".syncd/evil", "a//evil"])
def test_a_bad_name_is_listed_as_it_came_and_refused_where_it_is_selected(name: str) -> None:
    (each,) = found(tar_with(name, tarfile.REGTYPE))
    assert each.path == name
    with pytest.raises(Invalid, match="evil"):
        selected_files([SourceFile(each.path, each.size_bytes, each.sha256)], "sdxl@v1")


def test_a_name_that_is_not_text_is_refused_where_it_is_selected() -> None:
    data = bytearray(tar_with("evil", tarfile.REGTYPE))
    data[:1] = b"\xff"
    data[148:156] = b"%06o\0 " % (sum(data[:148]) + sum(data[156:512]) + 8 * 32)
    (each,) = found(bytes(data))
    with pytest.raises(Invalid, match="not valid UTF-8"):
        selected_files([SourceFile(each.path, each.size_bytes, each.sha256)], "sdxl@v1")


@pytest.mark.parametrize("cut", [1, 511, 512, 600, 1200, 2000])
def test_a_tar_that_was_cut_off_is_corrupt(cut: int) -> None:
    with pytest.raises(Corrupt, match=r"ends after|no tar"):
        found(tar_of({"a": b"1" * 600, "b": b"2" * 600})[:cut])


@pytest.mark.parametrize("data", [b"x" * 1024, b"\x1f\x8b" + b"0" * 600])
def test_a_stream_that_is_not_a_tar_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt, match="is not a tar"):
        found(data)


def test_a_header_that_was_changed_is_corrupt() -> None:
    data = bytearray(tar_of({"a": b"1"}))
    data[0:1] = b"b"
    with pytest.raises(Corrupt, match="checksum of a header"):
        found(bytes(data))


def test_a_file_of_a_size_that_no_tar_has_is_cut_off_not_believed() -> None:
    data = bytearray(tar_with("a", tarfile.REGTYPE, data=b"1"))
    data[124:136] = b"\x80" + bytes(4) + (1 << 40).to_bytes(7, "big")
    data[148:156] = b"%06o\0 " % (sum(data[:148]) + sum(data[156:512]) + 8 * 32)
    with pytest.raises(Corrupt, match="in the middle"):
        found(bytes(data))
    data[124:136] = b"\xff" * 12
    data[148:156] = b"%06o\0 " % (sum(data[:148]) + sum(data[156:512]) + 8 * 32)
    with pytest.raises(Corrupt, match="size is"):
        found(bytes(data))


def test_metadata_of_a_file_is_bounded() -> None:
    with pytest.raises(Invalid, match="bytes of metadata"):
        found(tar_with("a", tarfile.XHDTYPE, data=bytes(1 << 20)))


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        (b"nonsense", Corrupt, "not an extended header"),
        (b"0 path=x\n", Corrupt, "not an extended header"),
        (b"999 path=x\n", Corrupt, "not an extended header"),
        (b"13 size=many\n", Corrupt, "size is 'many'"),
        (b"25 GNU.sparse.major=1.0.0\n", Invalid, "sparse file"),
    ],
)
def test_invalid_metadata_of_a_file_is_refused(said: bytes, kind: type[Exception], message: str) -> None:
    first = tar_with("h", tarfile.XHDTYPE, data=said)[:1024]
    with pytest.raises(kind, match=message):
        found(first + tar_with("a", tarfile.REGTYPE, data=b"1"))


def test_global_headers_are_skipped() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "made by"}) as tar:
        tar.addfile(tarfile.TarInfo("a"))
    assert [each.path for each in found(out.getvalue())] == ["a"]


def test_entries_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.registry.oci.tarball._ENTRIES_MAX", 10)
    with pytest.raises(Invalid, match="more than 10 entries"):
        found(tar_of({str(number): b"" for number in range(20)}))
