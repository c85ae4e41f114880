"""What the local cloud takes out of an image's layers: files and directories, below its own folder."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from syncd.localcloud.fc.images.image_pull import _extract


def _archive(name: str, kind: bytes = tarfile.REGTYPE) -> tarfile.TarFile:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, "/etc/hostname", 3 if kind == tarfile.REGTYPE else 0
        archive.addfile(member, io.BytesIO(b"abc") if member.size else None)
    made.seek(0)
    return tarfile.open(fileobj=made, mode="r|")


def test_a_file_is_written_below_the_folder(tmp_path: Path) -> None:
    with _archive("models/m/a.bin") as archive:
        for member in archive:
            _extract(archive, member, tmp_path)
    assert (tmp_path / "models/m/a.bin").read_bytes() == b"abc"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../a", tarfile.REGTYPE),
        ("models/../../a", tarfile.REGTYPE),
        ("/a", tarfile.REGTYPE),
        ("models/a", tarfile.SYMTYPE),
        ("models/a", tarfile.LNKTYPE),
        ("models/a", tarfile.FIFOTYPE),
    ],
)
def test_whatever_is_not_a_file_below_the_folder_is_refused(tmp_path: Path, name: str, kind: bytes) -> None:
    into = tmp_path / "into"
    into.mkdir()
    with _archive(name, kind) as archive, pytest.raises(ValueError, match=r"leads out|neither"):
        for member in archive:
            _extract(archive, member, into)
    assert list(tmp_path.rglob("*")) == [into]
