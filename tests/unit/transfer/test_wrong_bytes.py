"""Bytes that are wrong, wherever they went wrong, are named, and nothing of them is visible: whole copies to OSS."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from threading import Event
from typing import Any

import pytest
from syncd.artifact.manifest import Entry
from syncd.artifact.parts import cut
from syncd.errors import Corrupt, Unavailable
from syncd.localcloud.faults import Action, FlipBit, Reset, Respond
from syncd.retry import Retry
from syncd.store.memory import MemoryStore
from syncd.store.oss.requests import OssRequest
from syncd.targets.base import Depth
from syncd.targets.versioned_tree import TreeTarget
from syncd.transfer import CopyReport, CopySettings, Destination, Progress, copy
from syncd.values.source import Stream
from tests.support.clouds import RawBucket
from tests.support.journals import MemoryJournal
from tests.support.sources import Files, FilesStream, content, manifest_of

PART = 128 << 10
FILES = {"big": content("big", 5 * PART + 7), "small": content("small", 5000)}
MANIFEST = manifest_of(FILES)
BIG = f"{MANIFEST.directory}/big"
SETTINGS = CopySettings(part_bytes=PART, buffer_bytes=8 * PART, parts_in_flight=2, retry=Retry(3, 60, 0.001, 0.002))
Fault = Callable[..., None]


def copied(bucket: RawBucket, journal: MemoryJournal, source: Callable[[Entry, int], Stream]) -> CopyReport:
    """To the bucket, beside a target to which nothing happens."""
    to = [
        Destination(TreeTarget("oss", bucket.store()), journal),
        Destination(TreeTarget("other", MemoryStore()), MemoryJournal()),
    ]
    progress = Progress(MANIFEST, ["oss", "other"])
    return copy(MANIFEST, source, to, SETTINGS, progress=progress, stop=Event())


def test_a_source_that_changes_while_it_is_read_is_named_and_leaves_nothing(bucket: RawBucket) -> None:
    files = Files(FILES)

    class Changing(FilesStream):
        def readinto(self, buffer: memoryview) -> int:
            count = super().readinto(buffer)
            if files.read_bytes.get("big", 0) >= 2 * PART:
                files.files = {**FILES, "big": FILES["big"][: 3 * PART] + bytes(2 * PART + 7)}
            return count

    with pytest.raises(Corrupt, match=r"big: sha256 of the source is .*, the manifest says"):
        copied(bucket, MemoryJournal(), lambda entry, offset: Changing(files, entry.path, offset))
    assert BIG not in bucket.all_keys()
    assert bucket.uploads() == set()


def test_a_bit_that_flips_once_on_the_wire_is_sent_again(bucket: RawBucket, fault: Fault) -> None:
    fault("UploadPart", FlipBit(1000), skip=2)
    report = copied(bucket, MemoryJournal(), Files(FILES))
    assert report.failed == {}
    assert report.targets["oss"].parts_resent == 1
    assert bucket.read(BIG) == FILES["big"]


@pytest.mark.parametrize(
    ("operation", "action", "more", "said"),
    [
        ("UploadPart", FlipBit(1000), {"times": 0}, r"big part \d: OSS holds .* bytes with crc64 .* were announced"),
        (
            "UploadPart",
            Respond(200, headers={"x-oss-hash-crc64ecma": "1", "ETag": '"E"'}, body=""),
            {"times": 0, "when": "after"},
            r"big part \d: OSS holds .* bytes with crc64 0000000000000001",
        ),
        (
            "CompleteMultipartUpload",
            Respond(200, headers={"x-oss-hash-crc64ecma": "1", "ETag": '"E"'}, body=""),
            {"when": "after"},
            r"big: expected crc64 [0-9a-f]{16} of the whole, got 0000000000000001 from OSS; it is deleted again",
        ),
        ("PutObject", FlipBit(10), {"times": 0}, r"small: OSS stored crc64 .*deleted again"),
    ],
    ids=["each part's wire", "each part's crc", "the crc of the whole", "a small file's wire"],
)
def test_what_stays_wrong_is_named_and_is_that_targets_failure(
    bucket: RawBucket, fault: Fault, operation: str, action: Action, more: dict[str, Any], said: str
) -> None:
    fault(operation, action, **more)
    report = copied(bucket, MemoryJournal(), Files(FILES))
    assert set(report.failed) == {"oss"}
    error = report.failed["oss"]
    assert isinstance(error, Corrupt)
    assert re.search(said, error.message), error.message
    wrong = BIG if "big" in said else f"{MANIFEST.directory}/small"
    assert wrong not in bucket.all_keys()


@pytest.mark.parametrize("wrong", [b"?", b""], ids=["as long", "shorter"])
def test_a_wrong_part_that_another_attempt_left_is_replaced(bucket: RawBucket, wrong: bytes) -> None:
    """By its checksum it is not ours, so it is not kept; the others are."""
    journal, parts = MemoryJournal(), cut(len(FILES["big"]), PART)
    token = bucket.client.init_multipart_upload(BIG).upload_id
    journal.tokens["big"] = token
    for part in parts:
        piece = FILES["big"][part.offset_bytes : part.offset_bytes + part.size_bytes]
        if part.number == 3:
            piece = wrong + piece[1:]
        bucket.client.upload_part(BIG, token, part.number, piece)
    report = copied(bucket, journal, Files(FILES))
    assert report.failed == {}
    assert report.targets["oss"].parts_kept == len(parts) - 1
    assert bucket.read(BIG) == FILES["big"]


def test_a_part_that_is_replaced_by_somebody_after_it_was_proven_shows_nothing(
    bucket: RawBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, store = MemoryJournal(), bucket.store()
    ask = store.bucket.requests.ask

    def replaced(request: OssRequest) -> Any:
        if request.method == "POST" and "uploadId" in request.params:
            bucket.client.upload_part(BIG, request.params["uploadId"], 2, bytes(PART))
        return ask(request)

    monkeypatch.setattr(store.bucket.requests, "ask", replaced)
    to = [Destination(TreeTarget("oss", store), journal)]
    settings = replace(SETTINGS, parts_in_flight=1)
    report = copy(MANIFEST, Files(FILES), to, settings, progress=Progress(MANIFEST, ["oss"]), stop=Event())
    assert isinstance(report.failed["oss"], Corrupt)
    assert "big" in report.failed["oss"].message
    assert BIG not in bucket.all_keys()


def test_a_wrong_object_whose_answer_was_lost_is_replaced_by_the_next_attempt(bucket: RawBucket, fault: Fault) -> None:
    """The bit flipped on the way there, so the object at the final name is wrong, and nothing was told of it."""
    fault("PutObject", FlipBit(10))
    fault("PutObject", Reset(), when="after")
    journal = MemoryJournal()
    report = copied(bucket, journal, Files(FILES))
    assert isinstance(report.failed["oss"], Unavailable)
    assert copied(bucket, journal, Files(FILES)).failed == {}
    assert bucket.read(f"{MANIFEST.directory}/small") == FILES["small"]
    TreeTarget("oss", bucket.store()).seal(MANIFEST, journal)


def test_a_wrong_seal_whose_answer_was_lost_is_replaced(bucket: RawBucket, fault: Fault) -> None:
    journal, target = MemoryJournal(), TreeTarget("oss", bucket.store())
    assert copied(bucket, journal, Files(FILES)).failed == {}
    markers = len(MANIFEST.directory.split("/"))
    fault("PutObject", FlipBit(10), skip=markers)
    fault("PutObject", Reset(), when="after", skip=markers)
    for _ in range(5):
        with suppress(Unavailable):
            target.seal(MANIFEST, journal)
    assert bucket.read(f"{MANIFEST.directory}/.syncd/manifest.json") == MANIFEST.canonical
    assert target.inspect(MANIFEST, Depth.CHECKSUMS, journal).sealed
