"""What is counted is what happened, at one moment."""

from __future__ import annotations

from syncd.artifact.names import FilePath
from syncd.transfer import FileProgress, Progress
from tests.support.sources import manifest_of

A, B = FilePath("a"), FilePath("b")


def test_counters_add_up_by_file_and_target() -> None:
    progress = Progress(manifest_of({"a": bytes(10), "b": bytes(5)}), ["t1", "t2"])
    progress.sent("t1", A, 6)
    progress.resent("t1")
    progress.kept("t1", A, 4)
    progress.finished("t1", A)
    progress.kept("t2", B, 5, parts=3)
    seen = progress.snapshot()
    assert seen["t1"].files == {A: FileProgress(10, 6, 4, is_finished=True), B: FileProgress(5)}
    assert seen["t1"].counters() == {
        "bytes_total": 15,
        "bytes_sent": 6,
        "bytes_kept": 4,
        "bytes_copied": 0,
        "files_total": 2,
        "files_finished": 1,
        "parts_sent": 1,
        "parts_kept": 1,
        "parts_copied": 0,
        "parts_resent": 1,
    }
    assert (seen["t2"].bytes_kept, seen["t2"].parts_kept, seen["t2"].files_finished) == (5, 3, 0)


def test_what_a_target_copied_counts_as_there_and_as_neither_sent_nor_kept() -> None:
    progress = Progress(manifest_of({"a": bytes(10)}), ["t"])
    progress.copied("t", A, 7)
    progress.sent("t", A, 2)
    seen = progress.snapshot()["t"]
    assert (seen.bytes_copied, seen.bytes_sent, seen.bytes_kept) == (7, 2, 0)
    assert (seen.parts_copied, seen.parts_sent, seen.parts_kept) == (1, 1, 0)
    assert progress.glance()["t"].going == ((A, 9, 10),)


def test_of_a_file_that_is_undone_no_byte_counts() -> None:
    progress = Progress(manifest_of({"a": bytes(10), "b": bytes(5)}), ["t"])
    progress.copied("t", A, 7)
    progress.sent("t", A, 2)
    progress.kept("t", A, 1)
    progress.sent("t", B, 5)
    progress.undone("t", A)
    seen = progress.snapshot()["t"]
    assert seen.files == {A: FileProgress(10), B: FileProgress(5, 5)}
    assert progress.glance()["t"].counters == seen.counters()


def test_a_snapshot_does_not_move() -> None:
    progress = Progress(manifest_of({"a": bytes(10)}), ["t"])
    before = progress.snapshot()["t"]
    progress.sent("t", A, 10)
    assert before.bytes_sent == 0


def test_a_glance_has_the_sums_of_the_snapshot_and_the_files_under_way() -> None:
    progress = Progress(manifest_of({"a": bytes(10), "b": bytes(5)}), ["t1", "t2"])
    progress.sent("t1", A, 6)
    progress.kept("t1", B, 5)
    progress.finished("t1", B)
    progress.finished("t1", B)
    seen = progress.glance()
    assert seen["t1"].going == ((A, 6, 10),)
    assert seen["t2"].going == ()
    assert {name: look.counters for name, look in seen.items()} == {
        name: look.counters() for name, look in progress.snapshot().items()
    }
