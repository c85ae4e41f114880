"""Store in an Alibaba Cloud OSS bucket.

What is sent when, and which answers are trusted, is decided here and, for multipart uploads, in `upload`: multipart
calls one by one, forbid-overwrite on Initiate and Complete, our own CRC against the server's. Nothing is retried here.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from syncd.artifact.digest import crc64 as crc64_of
from syncd.artifact.parts import MIB, Part
from syncd.errors import Conflict, Corrupt, Invalid, NotFound, SyncdError, Unavailable
from syncd.retry import CallPolicy, once
from syncd.store.base import Buffer, PendingUpload, Put, PutMode, Stat, Traits
from syncd.store.keys import parse_prefix
from syncd.store.oss.bucket import PAGE, OssBucket
from syncd.store.oss.errors import ErrorBody
from syncd.store.oss.http import HttpBody, PendingResponse
from syncd.store.oss.requests import FORBID, OssRequest, crc64_in, time_in, translate_errors
from syncd.store.oss.responses import hex_of, objects_in, uploads_in
from syncd.store.oss.settings import Credentials, OssSettings
from syncd.store.oss.upload import OssUpload

__all__ = ["Credentials", "OssSettings", "OssStore"]

_PAGED: Final = {"encoding-type": "url"}
_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})")
_PUTS_AT_ONCE: Final = 8  # by one thread
_TRAITS: Final = Traits(
    create_is_atomic=True,
    stat_has_crc64=True,
    needs_directory_markers=True,
    part_min_bytes=100 << 10,
    part_max_bytes=5 * 1024 * MIB,
    parts_max=10_000,
    puts_at_once=_PUTS_AT_ONCE,
)


class OssStore:
    """See `syncd.store.base.Store`."""

    traits: Final = _TRAITS

    def __init__(self, settings: OssSettings) -> None:
        """Makes no request. Raises Invalid: the endpoint, bucket or prefix cannot be right."""
        self.bucket: Final = OssBucket(settings)

    def __repr__(self) -> str:
        return f"OssStore({self.bucket!r})"

    def put(self, key: str, data: Buffer, mode: PutMode) -> Stat:
        (answer,) = self.put_all([Put(key, data)], mode, 1)
        if isinstance(answer, SyncdError):
            raise answer
        return answer

    def put_all(self, puts: Iterable[Put], mode: PutMode, at_once: int) -> Iterator[Stat | SyncdError]:
        under_way: deque[tuple[Put, PendingResponse | SyncdError]] = deque()
        try:
            for put in puts:
                if len(under_way) >= at_once:
                    yield self._stored(*under_way.popleft())
                under_way.append((put, self._putting(put, mode)))
            while under_way:
                yield self._stored(*under_way.popleft())
        finally:
            for _, asked in under_way:
                if isinstance(asked, PendingResponse):
                    asked.close()

    def _putting(self, put: Put, mode: PutMode) -> PendingResponse | SyncdError:
        try:
            name = self.bucket.name(put.key)
            headers = FORBID if mode is PutMode.CREATE else {}
            with self.bucket.requests.translated(self.bucket.url(put.key)):
                return self.bucket.requests.begun(OssRequest("PUT", name, headers=headers, data=put.data))
        except SyncdError as error:
            return error

    def _stored(self, put: Put, asked: PendingResponse | SyncdError) -> Stat | SyncdError:
        """What became of a put. An answer that was lost is not asked for: to put it again is harmless."""
        if isinstance(asked, SyncdError):
            return asked
        key, place, want = put.key, self.bucket.url(put.key), crc64_of(put.data)
        try:
            try:
                with self.bucket.requests.translated(place):
                    headers = self.bucket.requests.answered(asked).headers
                    got, put_at = crc64_in(headers), time_in(headers, "date")
            except Conflict as error:
                return self.bucket.settled(key, len(put.data), want, error)
            if got != want:
                self.bucket.delete(key)
                raise Corrupt(f"{place}: OSS stored crc64 {hex_of(got)}, {hex_of(want)} was sent; it is deleted again")
        except SyncdError as error:
            return error
        return Stat(key, len(put.data), got, put_at, headers.get("etag", "").strip('"'))

    def upload(self, key: str, parts: tuple[Part, ...], resume: str | None = None) -> OssUpload:
        name = self.bucket.name(key)
        if resume is None:
            with self.bucket.requests.translated(self.bucket.url(key)):
                root = self.bucket.requests.document(OssRequest("POST", name, {"uploads": ""}, FORBID))
                upload_id = root.findtext("UploadId")
                if not upload_id:
                    raise ValueError(f"<{root.tag}> has no UploadId")
            return OssUpload(self.bucket, key, parts, upload_id)
        if not resume or len(resume) > 128:
            raise NotFound(f"{self.bucket.url(key)}: {resume[:80]!r} is not an upload ID")
        with self.bucket.requests.translated(self.bucket.url(key)):
            listed = self.bucket.held_parts(name, resume)
        return OssUpload(self.bucket, key, parts, resume, listed)

    def open(self, key: str, offset_bytes: int = 0, until_bytes: int | None = None) -> OssStream:
        name, place = self.bucket.name(key), self.bucket.url(key)
        # Without this header OSS answers an offset past the end with the whole object.
        headers = {"x-oss-range-behavior": "standard"}
        if offset_bytes or until_bytes is not None:
            headers["range"] = f"bytes={offset_bytes}-{'' if until_bytes is None else until_bytes - 1}"
        try:
            with self.bucket.requests.translated(place):
                answer = self.bucket.requests.ask(OssRequest("GET", name, headers=headers))
        except Invalid as error:
            if not isinstance(error.__cause__, ErrorBody) or error.__cause__.answer.code != "InvalidRange":
                raise
            return OssStream(None, place)
        if offset_bytes and answer.status != 206:
            answer.close()
            raise Unavailable(f"{place}: {answer.status} to a range from {offset_bytes} on: the range was ignored")
        if until_bytes is None or answer.status != 206:
            return OssStream(answer, place)
        span = answer.headers.get("content-range", "")
        found = _RANGE.fullmatch(span)
        if found is None or int(found[1]) != offset_bytes or int(found[2]) >= until_bytes:
            answer.close()
            raise Unavailable(f"{place}: expected the range {offset_bytes}-{until_bytes - 1}, got {span[:80]!r}")
        return OssStream(answer, place, (int(found[2]) + 1, int(found[3])))

    def stat(self, key: str) -> Stat:
        return self.bucket.stat(key)

    def list(self, prefix: str, each: CallPolicy = once) -> Iterator[Stat]:
        asked = {"list-type": "2", "prefix": self.bucket.prefix + parse_prefix(prefix)} | _PAGED
        token = ""
        while True:
            page, token = each(partial(self._objects_after, token, prefix, asked))
            for stat in page:
                yield replace(stat, key=stat.key.removeprefix(self.bucket.prefix))
            if not token:
                return

    def pending(self, prefix: str, each: CallPolicy = once) -> Iterator[PendingUpload]:
        asked = {"uploads": "", "prefix": self.bucket.prefix + parse_prefix(prefix)} | _PAGED
        markers = ("", "")
        while True:
            page, markers = each(partial(self._uploads_after, markers, prefix, asked))
            for upload in page:
                yield replace(upload, key=upload.key.removeprefix(self.bucket.prefix))
            if not markers[0]:
                return

    def delete(self, key: str) -> None:
        self.bucket.delete(key)

    def check_room(self) -> None:
        """A bucket has no limit of its own."""

    def _objects_after(self, token: str, prefix: str, asked: Mapping[str, str]) -> tuple[Sequence[Stat], str]:
        """One page of the objects, and the token of the next one."""
        params = {**asked, "max-keys": str(PAGE), "continuation-token": token}
        with self.bucket.requests.translated(self.bucket.url(prefix)):
            page, following = objects_in(self.bucket.requests.document(OssRequest("GET", "", params)))
            if following and following == token:
                raise ValueError("the listing does not end: its next page is the same one")
        return page, following

    def _uploads_after(
        self, markers: tuple[str, str], prefix: str, asked: Mapping[str, str]
    ) -> tuple[Sequence[PendingUpload], tuple[str, str]]:
        """One page of the uploads, and the markers of the next one."""
        params = {**asked, "max-uploads": str(PAGE), "key-marker": markers[0], "upload-id-marker": markers[1]}
        with self.bucket.requests.translated(self.bucket.url(prefix)):
            page, following = uploads_in(self.bucket.requests.document(OssRequest("GET", "", params)))
            if following[0] and following == markers:
                raise ValueError("the listing does not end: its next page is the same one")
        return page, following


class OssStream:
    """The bytes of one object, or of a part of it, as they come."""

    def __init__(self, response: HttpBody | None, place: str, part: tuple[int, int] | None = None) -> None:
        """`part`: where it ends, and the size of the whole object."""
        self.until_bytes: Final = None if part is None else part[0]
        self.object_bytes: Final = None if part is None else part[1]
        self.host: Final = place.split("/")[2]  # a bucket has its own
        self._response = response
        self._place = place

    def readinto(self, buffer: memoryview) -> int:
        if self._response is None:
            return 0
        with translate_errors(self._place):
            return self._response.readinto(buffer)

    def __enter__(self) -> OssStream:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._response is not None:
            self._response.close()
