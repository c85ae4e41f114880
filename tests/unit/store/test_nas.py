"""What a mounted directory can do to us, beyond the promise every store keeps."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from syncd.artifact.digest import crc64
from syncd.artifact.parts import cut
from syncd.errors import Conflict, Invalid, NotFound, Refused, SyncdError, Unavailable
from syncd.store.base import PutMode
from syncd.store.nas import posix
from syncd.store.nas.store import STAGING, NasSettings, NasStore
from syncd.store.nas.tree import NasTree

DATA = bytes(range(256)) * 1000
PARTS = cut(len(DATA), 100_000)


@pytest.fixture
def store(tmp_path: Path) -> NasStore:
    return NasStore(NasSettings(tmp_path))


def every_call(store: NasStore) -> Iterator[Callable[[], object]]:
    yield lambda: store.put("a/k", b"1", PutMode.CREATE)
    yield lambda: store.upload("a/k", PARTS)
    yield lambda: store.upload("a/k", PARTS, resume=f"{hashlib.sha256(b'a/k').hexdigest()[:16]}-{'0' * 32}")
    yield lambda: store.open("a/k")
    yield lambda: store.stat("a/k")
    yield lambda: list(store.list(""))
    yield lambda: list(store.pending(""))
    yield store.check_room
    yield lambda: store.delete("a/k")


@pytest.mark.parametrize("call", range(8))
def test_a_root_that_is_missing_is_unavailable_and_never_created(tmp_path: Path, call: int) -> None:
    store = NasStore(NasSettings(tmp_path / "mnt"))
    with pytest.raises(Unavailable, match="is not there") as caught:
        list(every_call(store))[call]()
    assert "mount" in caught.value.hint
    assert not (tmp_path / "mnt").exists()


@pytest.mark.parametrize("call", range(8))
def test_a_root_without_its_marker_is_not_the_mount(tmp_path: Path, call: int) -> None:
    store = NasStore(NasSettings(tmp_path, marker=".syncd-mount"))
    with pytest.raises(Unavailable, match=r"has no \.syncd-mount") as caught:
        list(every_call(store))[call]()
    assert f"touch {tmp_path}/.syncd-mount" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_root_with_its_marker_is_used_and_the_marker_is_no_object(tmp_path: Path) -> None:
    (tmp_path / ".syncd-mount").touch()
    store = NasStore(NasSettings(tmp_path, marker=".syncd-mount"))
    store.put("k", b"1", PutMode.CREATE)
    assert [found.key for found in store.list("")] == ["k"]


def test_a_root_that_is_a_file_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable):
        NasStore(NasSettings(tmp_path / "file")).stat("k")


def test_a_symlinked_directory_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "k").write_bytes(b"secret")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "models").symlink_to(tmp_path / "outside")
    store = NasStore(NasSettings(tmp_path / "root"))
    for call in (
        lambda: store.put("models/new", b"1", PutMode.CREATE),
        lambda: store.open("models/k"),
        lambda: store.stat("models/k"),
        lambda: store.delete("models/k"),
        lambda: list(store.list("models/")),
    ):
        with pytest.raises(Refused, match="models") as caught:
            call()
        assert "symlink" in caught.value.hint
    assert list(store.list("")) == []
    assert {file.name for file in (tmp_path / "outside").iterdir()} == {"k"}


def test_a_symlinked_file_is_not_followed(tmp_path: Path, store: NasStore) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "k").symlink_to("/etc/hostname")
    for call in (lambda: store.open("d/k"), lambda: store.stat("d/k")):
        with pytest.raises(Refused):
            call()
    assert list(store.list("d/")) == []
    with pytest.raises(Refused):
        store.put("d/k", b"1", PutMode.CREATE)


def test_a_symlinked_staging_directory_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / STAGING).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused):
        NasStore(NasSettings(tmp_path / "root")).put("k", b"1", PutMode.CREATE)


def test_readers_may_read_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        store = NasStore(NasSettings(tmp_path))
        store.put("m/n/k", b"1", PutMode.CREATE)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "m/n/k").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "m/n").stat().st_mode) == 0o755


def test_staging_is_no_place_for_objects(store: NasStore) -> None:
    for key in (STAGING, f"{STAGING}/k"):
        with pytest.raises(Invalid):
            store.put(key, b"", PutMode.CREATE)


def test_putting_leaves_nothing_staged(tmp_path: Path, store: NasStore) -> None:
    store.put("k", b"1", PutMode.CREATE)
    with pytest.raises(Conflict):
        store.put("k", b"2", PutMode.CREATE)
    assert list((tmp_path / STAGING).iterdir()) == []


def test_a_crash_between_the_link_and_the_end_is_settled_by_completing_again(tmp_path: Path, store: NasStore) -> None:
    upload = store.upload("d/k", PARTS)
    for part in PARTS:
        piece = DATA[part.offset_bytes : part.offset_bytes + part.size_bytes]
        upload.send(part, piece, crc64(piece))
    (tmp_path / "d").mkdir()
    os.link(tmp_path / STAGING / f"{upload.token}.data", tmp_path / "d" / "k")
    assert [pending.key for pending in store.pending("")] == ["d/k"]
    again = store.upload("d/k", PARTS, resume=upload.token)
    assert again.complete(crc64(DATA)).size_bytes == len(DATA)
    assert list(store.pending("")) == []
    assert (tmp_path / "d/k").read_bytes() == DATA


def test_a_crash_before_the_data_file_leaves_something_that_can_be_aborted(tmp_path: Path, store: NasStore) -> None:
    token = store.upload("d/k", PARTS).token
    (tmp_path / STAGING / f"{token}.data").unlink()
    assert [pending.token for pending in store.pending("d/")] == [token]
    with pytest.raises(NotFound):
        store.upload("d/k", PARTS, resume=token)
    assert list((tmp_path / STAGING).iterdir()) == []


@pytest.mark.parametrize(
    "left",
    [
        {"new": b""},
        {"new": b"d/k", "data": b""},
        {"key": b""},
        {"key": b"d/k"},
        {"key": b"d/", "data": b""},
        {"data": b"1"},
    ],
)
def test_what_a_crash_left_half_begun_goes_when_the_key_is_begun_again(
    tmp_path: Path, store: NasStore, left: dict[str, bytes]
) -> None:
    whole = store.upload("d/k", PARTS).token
    other = store.upload("d/other", PARTS).token
    for name, content in left.items():
        (tmp_path / STAGING / f"{whole[:16]}-{'0' * 32}.{name}").write_bytes(content)
    again = store.upload("d/k", PARTS).token
    staged = {path.name.partition(".")[0] for path in (tmp_path / STAGING).iterdir()}
    assert staged == {whole, other, again}


def test_a_writer_who_is_taken_for_dead_while_he_begins_begins_anew(
    tmp_path: Path, store: NasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_file, others = posix.create_file, [NasStore(NasSettings(tmp_path)) for _ in range(3)]

    def create_after_another(directory: int, name: str, content: bytes, mode: int) -> None:
        create_file(directory, name, content, mode)
        if others:  # between any two of his files somebody else begins the same key
            others.pop().upload("d/k", PARTS)

    monkeypatch.setattr(posix, "create_file", create_after_another)
    upload = store.upload("d/k", PARTS)
    for part in PARTS:
        piece = DATA[part.offset_bytes : part.offset_bytes + part.size_bytes]
        upload.send(part, piece, crc64(piece))
    assert upload.complete(crc64(DATA)).size_bytes == len(DATA)
    assert len(list(store.pending("d/"))) == 3
    assert {path.suffix for path in (tmp_path / STAGING).iterdir()} == {".data", ".key"}


def test_of_many_writers_at_once_each_learns_whether_it_was_him(tmp_path: Path, store: NasStore) -> None:
    def create(key: str) -> bool:
        try:
            store.put(key, os.urandom(8), PutMode.CREATE)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        for n in range(40):
            assert sum(pool.map(create, [f"race/{n}"] * 8)) == 1
    assert list((tmp_path / STAGING).iterdir()) == []


def test_an_upload_that_ended_has_no_parts(store: NasStore) -> None:
    upload = store.upload("d/k", PARTS)
    upload.abort()
    assert not upload.has(PARTS[0], crc64(DATA[:100_000]))
    with pytest.raises(NotFound):
        store.tree.publish(upload.token, "d/k", PutMode.CREATE)


class Pruned(NasTree):
    """Somebody removes the empty directory just before a file is linked into it, so many times."""

    times = 0

    @contextmanager
    def directory(self, parts: tuple[str, ...], key: str = "", *, create: bool = False) -> Iterator[int]:
        with super().directory(parts, key, create=create) as descriptor:
            if create and parts[0] != STAGING and self.times:
                self.times -= 1
                Path(f"/proc/self/fd/{descriptor}").resolve().rmdir()
            yield descriptor


@pytest.mark.parametrize(("times", "survives"), [(1, True), (4, True), (5, False)])
def test_a_directory_that_is_pruned_meanwhile_is_made_again(
    tmp_path: Path, store: NasStore, monkeypatch: pytest.MonkeyPatch, times: int, survives: object
) -> None:
    tree = Pruned(NasSettings(tmp_path))
    tree.times = times
    monkeypatch.setattr(store, "tree", tree)
    if not survives:
        with pytest.raises(NotFound):
            store.put("d/e/k", b"1", PutMode.CREATE)
        return
    store.put("d/e/k", b"1", PutMode.CREATE)
    assert (tmp_path / "d/e/k").read_bytes() == b"1"


def test_what_vanishes_while_it_is_listed_is_left_out(tmp_path: Path, store: NasStore) -> None:
    for key in ("m/a", "m/d/k", "m/z"):
        store.put(key, b"1", PutMode.CREATE)
    listing = store.list("m/")
    assert next(listing).key == "m/a"
    store.delete("m/d/k")
    assert [found.key for found in listing] == ["m/z"]
    store.upload("k", PARTS)
    gone = store.upload("l", PARTS)
    pending = store.pending("")
    first = next(pending)
    gone.abort()
    assert [*pending, first].count(first) == 1


def test_what_others_left_in_staging_is_ignored(tmp_path: Path, store: NasStore) -> None:
    store.upload("k", PARTS)
    (tmp_path / STAGING / "notes.key").write_text("x")
    (tmp_path / STAGING / "notes.txt").write_text("x")
    assert [pending.key for pending in store.pending("")] == ["k"]


def test_deleting_prunes_empty_directories_but_never_one_in_the_root(tmp_path: Path, store: NasStore) -> None:
    store.put("models/sdxl/v1/unet/k", b"1", PutMode.CREATE)
    store.put("models/sdxl/v2/k", b"1", PutMode.CREATE)
    store.delete("models/sdxl/v1/unet/k")
    assert not (tmp_path / "models/sdxl/v1").exists()
    store.delete("models/sdxl/v2/k")
    assert [found.name for found in (tmp_path / "models").iterdir()] == []
    assert (tmp_path / "models").is_dir()


def test_an_upload_that_does_not_fit_waits_for_room_and_is_not_begun(tmp_path: Path, store: NasStore) -> None:
    free = os.statvfs(tmp_path)
    too_large = free.f_bavail * free.f_frsize + 1
    with pytest.raises(
        Unavailable, match=f"the file system is full: {too_large} bytes are needed, .* are free"
    ) as caught:
        store.upload("k", cut(too_large))
    assert "make room" in caught.value.hint
    assert list(store.pending("")) == []


@pytest.mark.parametrize(
    ("free_mib", "files", "free_files", "says"),
    [
        (64, 1000, 1, None),
        (63, 1000, 1, "the file system is full: 63 MiB are free, expected at least 64"),
        (64, 1000, 0, "the file system is full: it has room for no other file"),
        (64, 0, 0, None),  # a file system that does not count its files
    ],
)
def test_a_full_file_system_says_what_is_full(
    store: NasStore, monkeypatch: pytest.MonkeyPatch, free_mib: int, files: int, free_files: int, says: str | None
) -> None:
    blocks = free_mib << 10
    found = os.statvfs_result((1024, 1024, 1 << 20, blocks, blocks, files, free_files, free_files, 0, 255))
    monkeypatch.setattr(os, "fstatvfs", lambda descriptor: found)
    if says is None:
        store.check_room()
        return
    with pytest.raises(Unavailable, match=says) as caught:
        store.check_room()
    assert "`syncd gc --plan`" in caught.value.hint


@contextmanager
def files_limited_to(size_bytes: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_the_system_refuses_is_translated_and_leaves_nothing(tmp_path: Path, store: NasStore) -> None:
    with files_limited_to(1000), pytest.raises(Refused) as caught:
        store.put("k", bytes(2000), PutMode.CREATE)
    assert isinstance(caught.value.__cause__, OSError)
    assert list((tmp_path / STAGING).iterdir()) == []
    assert not (tmp_path / "k").exists()


def test_a_directory_in_the_way_of_a_file_is_a_conflict(tmp_path: Path, store: NasStore) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises((Conflict, NotFound)):
        store.put("d", b"1", PutMode.CREATE)
    assert (tmp_path / "d").is_dir()


def test_a_file_in_the_way_of_a_directory_is_refused(store: NasStore) -> None:
    store.put("d", b"1", PutMode.CREATE)
    with pytest.raises(Refused):
        store.put("d/k", b"1", PutMode.CREATE)


@pytest.mark.parametrize(
    ("number", "kind", "hint"),
    [
        (errno.ENOENT, NotFound, ""),
        (errno.EEXIST, Conflict, ""),
        (errno.ENOSPC, Unavailable, "full"),
        (errno.EDQUOT, Unavailable, "quota"),
        (errno.EROFS, Unavailable, "read-write"),
        (errno.EACCES, Refused, "permission"),
        (errno.ELOOP, Refused, "symlink"),
        (errno.ESTALE, Unavailable, "stale"),
        (errno.EIO, Unavailable, "kernel"),
        (errno.ETIMEDOUT, Unavailable, "does not answer"),
        (errno.ENAMETOOLONG, Invalid, "longer"),
        (errno.ENOTSUP, Refused, "hard links"),
        (errno.EBADMSG, Unavailable, ""),
    ],
)
def test_each_errno_means_one_thing(number: int, kind: type[SyncdError], hint: str) -> None:
    with (
        pytest.raises(kind, match=f"nas:/mnt/k: {os.strerror(number)}") as caught,
        posix.translate_errors("nas:/mnt/k"),
    ):
        raise OSError(number, "whatever")
    assert type(caught.value) is kind
    assert hint in caught.value.hint


def test_an_error_without_a_number_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="odd"), posix.translate_errors("nas:/mnt/k"):
        raise OSError("odd")


def test_the_store_names_itself(tmp_path: Path, store: NasStore) -> None:
    assert repr(store) == f"NasStore({tmp_path})"
