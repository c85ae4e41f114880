"""Directory registry: complete versions, and versions that are refused by name."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from structlog.testing import capture_logs
from syncd.artifact.names import FilePath, ModelName
from syncd.errors import Conflict, Invalid, NotFound, Refused, SyncdError, Unavailable
from syncd.registry.directory_tree import reading, scan
from syncd.registry.rules.file_filters import FileFilter, without_filter_mark
from syncd.registry.rules.filtered import FilteredRegistry
from syncd.registry.settings import DirectorySettings, Limits
from syncd.registry.sources import directory as directory_module
from syncd.registry.sources.directory import DirectoryRegistry

from tests.unit.registry.trees import THEN_S, mark, write

SDXL = ModelName("sdxl")
FILES = {"a": b"1", "sub/b": b"22"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.fixture
def registry(root: Path) -> DirectoryRegistry:
    return DirectoryRegistry(DirectorySettings(root, models=("*",), settle_s=5), now=lambda: THEN_S + 60.0)


def ready(top: Path) -> Path:
    write(top, FILES)
    mark(top, "READY")
    return top


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def listed(registry: DirectoryRegistry, version: str = "v1") -> list[str]:
    return [file.path for file in registry.listing(SDXL, registry.resolve(SDXL, version))]


@pytest.mark.parametrize(
    "left_over",
    [
        "x.tmp",
        "x.part",
        "x.incomplete",
        "x~",
        ".git/config",
        "sub/.cache/x",
        "lost+found/x",
        ".nfs000001",
        "d.tmp/x",
        "READY",
        "_SUCCESS",
        ".complete",
    ],
)
def test_leftovers_are_not_part_of_a_version(root: Path, registry: DirectoryRegistry, left_over: str) -> None:
    write(ready(root / "sdxl/v1"), {left_over: b""})
    assert listed(registry) == ["a", "sub/b"]


@pytest.mark.parametrize("name", [".gitattributes", "sub/READY", "sub/SHA256SUMS", "READY.txt", "a.tmp.bin"])
def test_a_similar_name_is_part_of_the_version(root: Path, registry: DirectoryRegistry, name: str) -> None:
    write(ready(root / "sdxl/v1"), {name: b""})
    assert name in listed(registry)


def test_a_file_that_is_listed_is_never_ignored(root: Path, registry: DirectoryRegistry) -> None:
    top = write(root / "sdxl/v1", {"x.part": b"1", ".hidden/y": b"2"})
    mark(top, "SHA256SUMS")
    write(top, {"other.part": b"", ".hidden2/z": b""})
    assert listed(registry) == [".hidden/y", "x.part"]


def test_a_list_is_not_complete_while_a_listed_file_is_missing(root: Path, registry: DirectoryRegistry) -> None:
    top = write(root / "sdxl/v1", FILES)
    mark(top, "SHA256SUMS")
    (top / "sub/b").rename(top / "sub/b.part")
    with pytest.raises(Unavailable, match=r"sub/b is in SHA256SUMS but does not exist"):
        registry.resolve(SDXL, "v1")
    assert registry.discover() == ()


def test_a_list_is_not_complete_while_a_file_has_another_size(root: Path, registry: DirectoryRegistry) -> None:
    top = write(root / "sdxl/v1", FILES)
    mark(top, "MANIFEST.json")
    write(top, {"sub/b": b"2"})
    with pytest.raises(Unavailable, match=r"sub/b has 1 bytes, MANIFEST.json has 2"):
        registry.resolve(SDXL, "v1")


def test_a_list_that_does_not_list_every_file_needs_a_marker(root: Path, registry: DirectoryRegistry) -> None:
    top = write(root / "sdxl/v1", FILES)
    mark(top, "SHA256SUMS")
    write(top, {"c": b"3"})
    with pytest.raises(Unavailable, match=r"c exists but is not in SHA256SUMS"):
        registry.resolve(SDXL, "v1")
    mark(top, "READY")
    hashed = {file.path: file.sha256 is not None for file in registry.listing(SDXL, registry.resolve(SDXL, "v1"))}
    assert hashed == {"a": True, "c": False, "sub/b": True}


@pytest.mark.parametrize("marker", ["MANIFEST.json", "SHA256SUMS"])
def test_a_list_that_is_cut_off_is_not_complete(root: Path, registry: DirectoryRegistry, marker: str) -> None:
    top = write(root / "sdxl/v1", FILES)
    path = mark(top, marker)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Unavailable, match=marker) as caught:
        registry.resolve(SDXL, "v1")
    assert "being written" in caught.value.hint
    assert registry.discover() == ()


def test_a_marker_alone_needs_quiet(root: Path) -> None:
    ready(root / "sdxl/v1")
    for path in (root / "sdxl/v1").rglob("*"):
        os.utime(path, (THEN_S, THEN_S))
    clock = [THEN_S + 4.0]
    registry = DirectoryRegistry(DirectorySettings(root, settle_s=5), now=lambda: clock[0])
    with pytest.raises(Unavailable, match=r"was written 4\.0 s ago, it must be unchanged for 5 s"):
        registry.resolve(SDXL, "v1")
    clock[0] += 1
    assert registry.resolve(SDXL, "v1").version == "v1"


def test_a_marker_without_files_is_not_complete(root: Path, registry: DirectoryRegistry) -> None:
    (root / "sdxl/v1").mkdir(parents=True)
    mark(root / "sdxl/v1", "READY")
    with pytest.raises(Unavailable, match="has no files yet"):
        registry.resolve(SDXL, "v1")


def test_the_error_for_a_missing_marker_lists_the_markers(root: Path, registry: DirectoryRegistry) -> None:
    write(root / "sdxl/v1", FILES)
    with pytest.raises(Unavailable, match="has no marker yet") as caught:
        registry.resolve(SDXL, "v1")
    assert caught.value.hint == "write one of READY, _SUCCESS, .complete, MANIFEST.json, SHA256SUMS last"


def link_file(top: Path) -> str:
    (top / "link").symlink_to("/etc/passwd")
    return "'link' is a symbolic link"


def link_inside(top: Path) -> str:
    (top / "sub/link").symlink_to("b")
    return "'sub/link' is a symbolic link"


def link_directory(top: Path) -> str:
    (top / "deep").symlink_to("/etc", target_is_directory=True)
    return "'deep' is a symbolic link"


def pipe(top: Path) -> str:
    os.mkfifo(top / "pipe")
    return "'pipe' is neither a file nor a directory"


def collision(top: Path) -> str:
    write(top, {"Sub/B": b""})
    return "'Sub/B' and 'sub/b' collide|'sub/b' and 'Sub/B' collide"


def control_character(top: Path) -> str:
    write(top, {"a\nb": b""})
    return r"'a\\nb' is refused: it contains control characters"


def not_utf_8(top: Path) -> str:
    (Path(os.fsdecode(os.fsencode(top) + b"/\xff"))).write_bytes(b"")
    return r"'\\udcff' is refused"


def decomposed(top: Path) -> str:
    write(top, {"e\u0301": b""})
    return "is not in Unicode's composed form"


def ours(top: Path) -> str:
    write(top, {".SYNCD": b""})
    return r"'\.SYNCD' is refused: \.syncd/ is syncd's own"


def backslash(top: Path) -> str:
    write(top, {"a\\b": b""})
    return "it is a path of another system"


def listed_outside(top: Path) -> str:
    (top / "SHA256SUMS").write_text("0" * 64 + "  ../../secret\n")
    return r"'\.\./\.\./secret' is refused: it has an empty part, '\.' or '\.\.'"


def listed_absolute(top: Path) -> str:
    (top / "MANIFEST.json").write_text('{"files": [{"path": "/etc/passwd", "size": 1}]}')
    return "'/etc/passwd' is refused: it is absolute"


def list_is_a_link(top: Path) -> str:
    (top / "SHA256SUMS").symlink_to("a")
    return "SHA256SUMS: Too many levels of symbolic links"


BAD_TREES: tuple[Callable[[Path], str], ...] = (
    link_file,
    link_inside,
    link_directory,
    pipe,
    collision,
    control_character,
    not_utf_8,
    decomposed,
    ours,
    backslash,
    listed_outside,
    listed_absolute,
    list_is_a_link,
)


@pytest.mark.parametrize("spoil", BAD_TREES, ids=lambda spoil: spoil.__name__)
def test_a_bad_tree_is_refused_by_name_and_hides_no_other(
    root: Path, registry: DirectoryRegistry, spoil: Callable[[Path], str]
) -> None:
    ready(root / "sdxl/good")
    message = spoil(ready(root / "sdxl/bad"))
    with pytest.raises(Invalid, match=message):
        registry.resolve(SDXL, "bad")
    with capture_logs() as logs:
        assert [candidate.version for candidate in registry.discover()] == ["good"]
        assert [candidate.version for candidate in registry.discover()] == ["good"]
    assert [(log["log_level"], log["directory"]) for log in logs] == [("warning", "sdxl/bad")]  # logged once


@pytest.mark.parametrize("name", ["-v1", "v 1", "v1\n", "é", "v..1", "latest"])
def test_a_bad_version_name_is_left_out_with_a_warning(root: Path, registry: DirectoryRegistry, name: str) -> None:
    ready(root / "sdxl" / name)
    ready(root / "sdxl/v1")
    with capture_logs() as logs:
        assert [candidate.version for candidate in registry.discover()] == ["v1"]
    assert [log["event"] for log in logs] == ["registry.version_refused"]
    assert registry.resolve(SDXL, "latest").version == "v1"


def test_a_bad_model_name_is_left_out_with_a_warning(root: Path, registry: DirectoryRegistry) -> None:
    ready(root / "-sdxl/v1")
    with capture_logs() as logs:
        assert registry.discover() == ()
    assert [log["directory"] for log in logs] == ["-sdxl/v1"]


def test_linked_models_and_versions_are_not_followed(root: Path, registry: DirectoryRegistry, tmp_path: Path) -> None:
    ready(tmp_path / "elsewhere/v1")
    (root / "sdxl").symlink_to(tmp_path / "elsewhere")
    (root / "lora").mkdir()
    (root / "lora/current").symlink_to(tmp_path / "elsewhere/v1")
    assert registry.discover() == ()
    with pytest.raises(Invalid, match="sdxl is a symbolic link"):
        registry.resolve(SDXL, "v1")
    with pytest.raises(Invalid, match="lora/current is a symbolic link"):
        registry.resolve(ModelName("lora"), "current")


def test_files_where_directories_are_expected_are_no_models(root: Path, registry: DirectoryRegistry) -> None:
    write(root, {"README.md": b"", "sdxl/notes.txt": b""})
    assert registry.discover() == ()
    with pytest.raises(NotFound, match=r"notes\.txt is not a directory"):
        registry.resolve(SDXL, "notes.txt")


def test_unselected_models_are_not_listed(root: Path) -> None:
    for model in ("sdxl", "sd15", "lora", "team/sdxl"):
        ready(root / model / "v1")
    registry = DirectoryRegistry(DirectorySettings(root, models=("sd*", "team/*"), settle_s=0))
    assert {candidate.model for candidate in registry.discover()} == {"sdxl", "sd15", "team/sdxl"}
    with pytest.raises(NotFound, match="lora is not among the models"):
        registry.resolve(ModelName("lora"), "v1")


def test_a_subdirectory_with_a_marker_is_not_a_version_of_a_model_with_an_owner(
    root: Path, registry: DirectoryRegistry
) -> None:
    ready(root / "sdxl/v1/tokenizer")
    assert registry.discover() == ()


def test_latest_of_a_model_without_a_complete_version_counts_the_marked_ones(
    root: Path, registry: DirectoryRegistry
) -> None:
    mark(write(root / "sdxl/v1", {"x.tmp": b""}), "READY")
    with pytest.raises(Unavailable, match="no complete version; 1 have a marker"):
        registry.resolve(SDXL, "latest")


def test_versions_marked_at_one_time_are_in_the_order_of_their_names(root: Path, registry: DirectoryRegistry) -> None:
    for version in ("b", "a", "c"):
        os.utime(mark(write(root / "sdxl" / version, FILES), "READY"), (THEN_S, THEN_S))
    assert [candidate.version for candidate in registry.discover()] == ["a", "b", "c"]
    assert registry.resolve(SDXL, "latest").version == "c"


def test_touching_a_file_without_a_digest_is_a_conflict(root: Path, registry: DirectoryRegistry) -> None:
    ready(root / "sdxl/v1")
    revision = registry.resolve(SDXL, "v1")
    os.utime(root / "sdxl/v1/a", (THEN_S + 1, THEN_S + 1))
    with pytest.raises(Conflict, match="as pinned"):
        registry.listing(SDXL, revision)
    with pytest.raises(Conflict, match="as listed"):
        registry.open(SDXL, revision, FilePath("a"))


def test_touching_a_file_with_a_digest_changes_nothing(root: Path, registry: DirectoryRegistry) -> None:
    mark(write(root / "sdxl/v1", FILES), "SHA256SUMS")
    revision = registry.resolve(SDXL, "v1")
    os.utime(root / "sdxl/v1/a", (THEN_S + 1, THEN_S + 1))
    assert len(registry.listing(SDXL, revision)) == 2
    with registry.open(SDXL, revision, FilePath("a")) as stream:
        assert stream.readinto(memoryview(bytearray(9))) == 1


@pytest.mark.parametrize("change", ["new", "gone"])
def test_a_file_more_or_less_than_was_pinned_is_a_conflict(
    root: Path, registry: DirectoryRegistry, change: str
) -> None:
    mark(write(root / "sdxl/v1", FILES), "SHA256SUMS")
    revision = registry.resolve(SDXL, "v1")
    if change == "new":
        write(root / "sdxl/v1", {"c": b""})
    else:
        (root / "sdxl/v1/a").unlink()
        with pytest.raises(NotFound):
            registry.open(SDXL, revision, FilePath("a"))
    with pytest.raises(Conflict, match="no longer complete"):
        registry.listing(SDXL, revision)


def test_a_version_that_is_gone_is_not_found(root: Path, registry: DirectoryRegistry) -> None:
    revision = registry.resolve(SDXL, ready(root / "sdxl/v1").name)
    shutil.rmtree(root / "sdxl/v1")
    with pytest.raises(NotFound):
        registry.listing(SDXL, revision)


@pytest.mark.parametrize("part", ["sub", "sub/b", "."])
def test_a_part_of_the_path_that_became_a_link_is_a_conflict(
    root: Path, registry: DirectoryRegistry, tmp_path: Path, part: str
) -> None:
    revision = registry.resolve(SDXL, ready(root / "sdxl/v1").name)
    place = root / "sdxl/v1" / part
    moved = place.rename(tmp_path / "moved")
    place.symlink_to(moved)
    with pytest.raises(Conflict, match="no longer a file below the registry"):
        registry.open(SDXL, revision, FilePath("sub/b"))


def test_an_offset_outside_of_the_file_is_refused(root: Path, registry: DirectoryRegistry) -> None:
    revision = registry.resolve(SDXL, ready(root / "sdxl/v1").name)
    for offset_bytes in (-1, 3):
        with pytest.raises(Invalid, match="not within its 2 bytes"):
            registry.open(SDXL, revision, FilePath("sub/b"), offset_bytes)


def test_a_file_cut_off_while_it_is_read_is_unavailable_at_the_byte_reached(
    root: Path, registry: DirectoryRegistry
) -> None:
    revision = registry.resolve(SDXL, ready(root / "sdxl/v1").name)
    with registry.open(SDXL, revision, FilePath("sub/b")) as stream:
        assert stream.readinto(memoryview(bytearray(1))) == 1
        os.truncate(root / "sdxl/v1/sub/b", 1)
        with pytest.raises(Unavailable, match="sub/b ended after 1 bytes, expected 2"):
            stream.readinto(memoryview(bytearray(9)))


def test_a_file_that_grows_while_it_is_read_ends_where_it_was_listed_to_end(
    root: Path, registry: DirectoryRegistry
) -> None:
    revision = registry.resolve(SDXL, ready(root / "sdxl/v1").name)
    with registry.open(SDXL, revision, FilePath("sub/b")) as stream:
        write(root / "sdxl/v1", {"sub/b": b"22333"})
        buffer = bytearray(9)
        assert stream.readinto(memoryview(buffer)) == 2
        assert stream.readinto(memoryview(buffer)) == 0
        assert bytes(buffer) == b"22" + bytes(7)


def test_a_closed_stream_closes_its_file_once(root: Path, registry: DirectoryRegistry) -> None:
    revision = registry.resolve(SDXL, ready(root / "sdxl/v1").name)
    before = open_files()
    stream = registry.open(SDXL, revision, FilePath("sub/b"))
    with stream, stream:
        assert open_files() == before + 1
    assert open_files() == before
    with pytest.raises(Unavailable):
        stream.readinto(memoryview(bytearray(1)))


def test_reading_and_failing_to_open_leave_no_file_open(root: Path, registry: DirectoryRegistry) -> None:
    revision = registry.resolve(SDXL, ready(root / "sdxl/v1").name)
    os.truncate(root / "sdxl/v1/a", 0)
    before = open_files()
    with pytest.raises(Conflict):
        registry.open(SDXL, revision, FilePath("a"))
    (root / "sdxl/v1/a").unlink()
    with pytest.raises(NotFound):
        registry.open(SDXL, revision, FilePath("a"))
    assert open_files() == before


def test_reading_needs_no_snapshot_in_memory(root: Path, registry: DirectoryRegistry) -> None:
    ready(root / "sdxl/v1")
    revision = registry.resolve(SDXL, "v1")
    for number in range(6):
        registry.resolve(SDXL, ready(root / f"sdxl/w{number}").name)
    with registry.open(SDXL, revision, FilePath("a")) as stream:
        assert stream.readinto(memoryview(bytearray(9))) == 1


def test_a_complete_version_is_not_walked_again_until_its_marker_changes(
    root: Path, registry: DirectoryRegistry
) -> None:
    top = write(root / "sdxl/v1", FILES)
    marker = mark(top, "SHA256SUMS")
    assert len(registry.discover()) == 1
    (top / "a").rename(top / "a.part")
    assert len(registry.discover()) == 1  # discovering is a hint; resolving reads
    with pytest.raises(Unavailable):
        registry.resolve(SDXL, "v1")
    os.utime(marker, (THEN_S + 9, THEN_S + 9))
    assert registry.discover() == ()


def test_a_list_too_long_to_be_read_is_refused(root: Path, registry: DirectoryRegistry) -> None:
    top = ready(root / "sdxl/v1")
    with (top / "SHA256SUMS").open("wb") as file:
        file.truncate(directory_module._LIST_BYTES_MAX + 1)
    with pytest.raises(Invalid, match="at most 18874368 are read"):
        registry.resolve(SDXL, "v1")


@pytest.fixture
def readable_root() -> Iterator[Path]:
    """A directory that another user may enter, unlike pytest's own."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def unprivileged() -> Iterator[None]:
    """As a user without permission to read everything: root drops its privileges for a while."""
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_version_that_may_not_be_read_is_refused_and_hides_no_other(readable_root: Path) -> None:
    ready(readable_root / "sdxl/v1")
    (ready(readable_root / "sdxl/v2") / "sub").chmod(0)
    registry = DirectoryRegistry(DirectorySettings(readable_root, settle_s=0))
    with unprivileged(), capture_logs() as logs:
        with pytest.raises(Refused, match="Permission denied") as caught:
            registry.resolve(SDXL, "v2")
        assert [candidate.version for candidate in registry.discover()] == ["v1"]
    assert caught.value.hint
    assert [log["directory"] for log in logs] == ["sdxl/v2"]


@pytest.mark.parametrize("closed", ["lora", "lora/v1"])
def test_a_directory_that_may_not_be_entered_hides_no_other(readable_root: Path, closed: str) -> None:
    ready(readable_root / "sdxl/v1")
    ready(readable_root / "lora/v1")
    (readable_root / closed).chmod(0)
    registry = DirectoryRegistry(DirectorySettings(readable_root, settle_s=0))
    with unprivileged(), capture_logs() as logs:
        for _ in range(2):
            assert [candidate.model for candidate in registry.discover()] == ["sdxl"]
        with pytest.raises((Refused, Unavailable)):
            registry.resolve(ModelName("lora"), "latest")
    assert [log["directory"] for log in logs] == [closed]


def test_a_directory_that_was_deleted_meanwhile_is_empty(root: Path, registry: DirectoryRegistry) -> None:
    assert registry._directories(root / "gone") == []


def test_a_tree_that_changes_during_the_scan_is_scanned_again(root: Path) -> None:
    with pytest.raises(Unavailable, match="changed during the scan"):
        scan(root / "gone", frozenset())


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOENT, NotFound),
        (errno.ENOTDIR, NotFound),
        (errno.EACCES, Refused),
        (errno.EPERM, Refused),
        (errno.ELOOP, Invalid),
        (errno.EIO, Unavailable),
        (errno.ESTALE, Unavailable),
        (errno.ENOTCONN, Unavailable),
    ],
)
def test_only_a_definite_answer_is_not_found(number: int, remedy: type[SyncdError]) -> None:
    with pytest.raises(SyncdError, match="it: ") as caught, reading("it"):
        raise OSError(number, os.strerror(number))
    assert type(caught.value) is remedy


def test_a_root_that_may_not_be_read_is_refused(readable_root: Path) -> None:
    ready(readable_root / "models/sdxl/v1")
    readable_root.chmod(0)
    registry = DirectoryRegistry(DirectorySettings(readable_root / "models", settle_s=0))
    with unprivileged(), pytest.raises(Refused, match="Permission denied"):
        registry.discover()


def test_a_root_that_is_a_file_is_unavailable_with_advice(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="not a directory") as caught:
        DirectoryRegistry(DirectorySettings(tmp_path / "file")).discover()
    assert "mounted" in caught.value.hint


def test_opening_every_file_walks_the_version_no_more_often(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version may have a hundred thousand files: a scan for each of them would take hours."""
    directories_looked_into: list[object] = []
    scandir = os.scandir

    def counting(place: Path) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
        directories_looked_into.append(place)
        return scandir(place)

    top = write(root / "sdxl/v1", {f"d{number % 10}/{number}": b"" for number in range(1000)})
    mark(top, "READY")
    registry = DirectoryRegistry(DirectorySettings(root, settle_s=0))
    monkeypatch.setattr(os, "scandir", counting)
    revision = registry.resolve(SDXL, "v1")
    listing = registry.listing(SDXL, revision)
    for file in listing:
        with registry.open(SDXL, revision, file.path):
            pass
    assert len(listing) == 1000
    assert len(directories_looked_into) == 2 * (1 + 10)  # once to resolve, once to list


def test_a_version_with_a_file_that_aria2_still_downloads_is_not_complete(readable_root: Path) -> None:
    """aria2 1.36 gives a file its name and full size at once: without its control file nothing tells the holes."""
    write(
        readable_root / "sdxl/v1", {"model.safetensors": bytes(100), "model.safetensors.aria2": b"x", "READY": b""}, 0
    )
    registry = DirectoryRegistry(DirectorySettings(readable_root, settle_s=0))
    with pytest.raises(Unavailable, match="still being downloaded"):
        registry.resolve(ModelName("sdxl"), "v1")
    (readable_root / "sdxl/v1/model.safetensors.aria2").unlink()
    assert registry.resolve(ModelName("sdxl"), "v1").version == "v1"


def test_a_link_or_an_odd_name_that_is_left_out_hinders_nothing(root: Path, registry: DirectoryRegistry) -> None:
    top = root / "sdxl/v1"
    ready(top)
    (top / "latest.md").symlink_to("/etc/passwd")
    Path(os.fsdecode(os.fsencode(top) + b"/\xff.md")).write_bytes(b"2")
    filtered = FilteredRegistry(registry, files=FileFilter(leave=("*.md",)))
    assert [each.version for each in filtered.discover()] == ["v1"]
    revision = filtered.resolve(SDXL, "v1")
    assert [file.path for file in filtered.listing(SDXL, revision)] == ["a", "sub/b"]
    assert registry.discover() == ()
    own = without_filter_mark(revision)[0]
    with pytest.raises(Invalid, match=r"'latest\.md' is a symbolic link"):
        registry.open(SDXL, own, FilePath("latest.md"))
    with pytest.raises(NotFound):
        filtered.open(SDXL, revision, FilePath("latest.md"))


def test_a_directory_with_more_files_than_allowed_is_left_while_it_is_scanned(root: Path) -> None:
    ready(root / "sdxl/v1")
    for n in range(20):
        (root / f"sdxl/v1/{n}.bin").write_bytes(b"1")
    registry = DirectoryRegistry(DirectorySettings(root, limits=Limits(files_max=10)), now=lambda: THEN_S + 60.0)
    with pytest.raises(Invalid, match="has more than 10 files") as refused:
        registry.resolve(SDXL, "v1")
    assert "transfer.files_max" in refused.value.hint
