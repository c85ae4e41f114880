"""Upload of a directory into a directory registry: complete, unchanged, and by one process at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from syncd.artifact.names import ModelName
from syncd.cli.upload import directory as module
from syncd.cli.upload.source_directory import LIST, Found, scan
from syncd.errors import Conflict, Invalid, SyncdError, Unavailable
from syncd.registry.settings import DirectorySettings
from syncd.registry.sources.directory import DirectoryRegistry

from tests.acceptance.stage import write_files

FILES = {"a": b"1", "b": b"22", "sub/c": b"333"}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return write_files(tmp_path / "out", FILES)


@pytest.fixture
def final(tmp_path: Path) -> Path:
    return tmp_path / "registry" / "sdxl" / "v1"


def meanwhile(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """It happens once, after the first file was copied."""
    real, left = module._copy, [happens]

    def copied(source: Path, name: str, found: Found, staged: int) -> str:
        digest = real(source, name, found, staged)
        while left:
            left.pop()()
        return digest

    monkeypatch.setattr(module, "_copy", copied)


def upload_directory(source: Path, final: Path) -> None:
    """As the command does: scan, then copy."""
    module.upload_directory(source, scan(source).files, final)


def versions(final: Path) -> list[str]:
    registry = DirectoryRegistry(DirectorySettings(final.parents[1]))
    return [each.version for each in registry.discover(ModelName(final.parent.name))]


@pytest.mark.parametrize(
    "happens",
    [
        lambda out: (out / "a").write_bytes(b"2"),  # was read already
        lambda out: (out / "b").write_bytes(b"22 and more"),
        lambda out: (out / "d").write_bytes(b"new"),
        lambda out: (out / "sub" / "c").unlink(),
        lambda out: (out / "b").unlink(),
    ],
    ids=["written", "grew", "came", "went last", "went"],
)
def test_a_directory_that_changes_meanwhile_is_no_version(
    out: Path, final: Path, monkeypatch: pytest.MonkeyPatch, happens: Callable[[Path], object]
) -> None:
    meanwhile(monkeypatch, lambda: happens(out))
    with pytest.raises(Conflict, match=r"changed while it was read|disappeared while it was read") as reported:
        upload_directory(out, final)
    assert reported.value.hint == "publish again when nothing writes to it"
    assert not final.exists()
    upload_directory(out, final)
    assert versions(final) == ["v1"]


def test_a_version_is_copied_by_one_process_at_a_time(out: Path, final: Path) -> None:
    final.parent.mkdir(parents=True)
    with (final.parent / ".v1.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="another process is copying"):
            upload_directory(out, final)
    upload_directory(out, final)
    assert [path.name for path in final.parent.iterdir()] == ["v1"]


def test_of_two_jobs_with_other_files_one_has_its_version_whole(tmp_path: Path, final: Path) -> None:
    made = [write_files(tmp_path / f"job{n}", {f"{n}": b"x", "both": b"%d" % n}) for n in range(8)]

    def brought(source: Path) -> str:
        try:
            upload_directory(source, final)
        except SyncdError as error:
            return type(error).__name__
        return ""

    with ThreadPoolExecutor(8) as pool:
        reported = list(pool.map(brought, made))
    assert sorted(reported) == ["", *["Conflict"] * 7]
    winner = reported.index("")
    assert {path.name for path in final.iterdir()} == {LIST, "both", str(winner)}
    assert (final / "both").read_bytes() == b"%d" % winner
    assert versions(final) == ["v1"]


def test_a_directory_with_nothing_but_directories_is_refused(tmp_path: Path, final: Path) -> None:
    (tmp_path / "out" / "empty").mkdir(parents=True)
    with pytest.raises(Invalid, match="has no files in it"):
        upload_directory(tmp_path / "out", final)
    with pytest.raises(Invalid, match="is not a directory"):
        upload_directory(tmp_path / "nowhere", final)
    assert not final.parent.exists()


def test_a_linked_lock_file_is_neither_followed_nor_emptied(out: Path, final: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("their words")
    final.parent.mkdir(parents=True)
    (final.parent / ".v1.lock").symlink_to(theirs)
    with pytest.raises(Conflict, match="is a symbolic link"):
        upload_directory(out, final)
    assert theirs.read_text() == "their words"
    assert not final.exists()


def test_a_lock_file_with_content_keeps_it(out: Path, final: Path) -> None:
    final.parent.mkdir(parents=True)
    lock = final.parent / ".v1.lock"
    lock.write_text("not ours")
    kept = lock.open()
    upload_directory(out, final)
    with kept:
        assert kept.read() == "not ours"


def test_a_linked_staging_directory_is_not_written_through(out: Path, final: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    final.parent.mkdir(parents=True)
    (final.parent / "v1.incomplete").symlink_to(theirs)
    with pytest.raises(Conflict, match="is a symbolic link"):
        upload_directory(out, final)
    assert list(theirs.iterdir()) == []
    assert not final.exists()


@pytest.mark.parametrize("laid", ["sub", "b"])
def test_a_link_that_is_laid_in_the_staging_directory_is_not_written_through(
    out: Path, final: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, laid: str
) -> None:
    theirs = write_files(tmp_path / "theirs", {"b": b"their words"})
    to = theirs / "b" if laid == "b" else theirs
    meanwhile(monkeypatch, lambda: (final.parent / "v1.incomplete" / laid).symlink_to(to))
    with pytest.raises(Unavailable):
        upload_directory(out, final)
    assert {path.name: path.read_bytes() for path in theirs.iterdir()} == {"b": b"their words"}
    assert not final.exists()


@pytest.mark.parametrize("swapped", ["a", "sub"])
def test_a_source_that_becomes_a_link_is_not_followed(out: Path, final: Path, tmp_path: Path, swapped: str) -> None:
    theirs = write_files(tmp_path / "theirs", {"a": b"1", "c": b"333"})
    files = scan(out).files
    (out / swapped).rename(tmp_path / "aside")
    (out / swapped).symlink_to(theirs / "a" if swapped == "a" else theirs)
    with pytest.raises(Conflict, match="changed while it was read"):
        module.upload_directory(out, files, final)
    assert not final.exists()
