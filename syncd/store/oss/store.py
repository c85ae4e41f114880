"""A store in an Alibaba Cloud OSS bucket.

`oss_requests` makes requests, `oss_sdk` those that are rare, `oss_wire` carries them; what is sent when, and what is
believed, is decided here and, of uploads in parts, in `oss_upload`: multipart calls one by one, forbid-overwrite on
Initiate and Complete, our own CRC against the server's. Below, nothing is retried.
"""

from __future__ import annotations

import contextlib
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from syncd.artifact.digest import crc64 as crc64_of
from syncd.artifact.parts import MIB, Part
from syncd.errors import Conflict, Corrupt, Invalid, NotFound, Refused, SyncdError, Unavailable
from syncd.store.base import Buffer, PendingUpload, Put, PutMode, Stat, Traits
from syncd.store.keys import parse_key, parse_prefix
from syncd.store.oss.errors import ErrorBody, translate_errors
from syncd.store.oss.http import HttpBody, HttpPool, PendingResponse, PoolSettings
from syncd.store.oss.requests import FORBID, OssClient, OssRequest
from syncd.store.oss.responses import UploadedPart, crc64_in, hex_of, objects_in, parts_in, time_in, uploads_in
from syncd.store.oss.settings import Credentials, OssSettings
from syncd.store.oss.upload import OssUpload
from syncd.values.source import Location

if TYPE_CHECKING:
    from syncd.store.oss.sdk import Bucket

__all__ = ["Credentials", "OssSettings", "OssStore"]

_PAGE: Final = 1000  # the most OSS gives
_PAGED: Final = {"encoding-type": "url"}
_PUTS_AT_ONCE: Final = 8  # by one thread
_BUCKET_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_HOST: Final = re.compile(r"[\w.:-]+")
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
        self._settings = settings
        self._prefix = parse_prefix(settings.prefix)
        url = urlsplit(settings.endpoint)
        if url.scheme not in {"http", "https"} or not _HOST.fullmatch(url.hostname or ""):
            raise Invalid(f"endpoint {settings.endpoint!r} is not an address", hint="https://oss-<region>.aliyuncs.com")
        if not _BUCKET_NAME.fullmatch(settings.bucket):
            raise Invalid(f"{settings.bucket[:80]!r} is no name of a bucket", hint="3 to 63 of a-z, 0-9 and -")
        self.wire: Final = HttpPool(PoolSettings(settings.read_timeout_s, settings.connections_max, settings.proxy))
        self.requests: Final = OssClient(settings, self.wire)

    def __repr__(self) -> str:
        return f"OssStore(oss://{self._settings.bucket}/{self._prefix} in {self._settings.region})"

    @cached_property
    def sdk(self) -> Bucket:
        """oss2's view of the bucket."""
        from syncd.store.oss.sdk import Bucket  # noqa: PLC0415 - a copy does without it

        return Bucket(self._settings, self.wire)

    def put(self, key: str, data: Buffer, mode: PutMode) -> Stat:
        (told,) = self.put_all([Put(key, data)], mode, 1)
        if isinstance(told, SyncdError):
            raise told
        return told

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
            name = self._name(put.key)
            headers = FORBID if mode is PutMode.CREATE else {}
            with translate_errors(self.place(put.key)):
                return self.requests.begun(OssRequest("PUT", name, headers=headers, data=put.data))
        except SyncdError as error:
            return error

    def _stored(self, put: Put, asked: PendingResponse | SyncdError) -> Stat | SyncdError:
        """What became of a put. An answer that was lost is not asked for: to put it again is harmless."""
        if isinstance(asked, SyncdError):
            return asked
        key, place, want = put.key, self.place(put.key), crc64_of(put.data)
        try:
            try:
                with translate_errors(place):
                    headers = self.requests.answered(asked).headers
                    got, put_at = crc64_in(headers), time_in(headers, "date")
            except Conflict as error:
                return self.settled(key, len(put.data), want, error)
            if got != want:
                self.delete(key)
                raise Corrupt(f"{place}: OSS stored crc64 {hex_of(got)}, {hex_of(want)} was sent; it is deleted again")
        except SyncdError as error:
            return error
        return Stat(key, len(put.data), got, put_at, headers.get("etag", "").strip('"'))

    def upload(self, key: str, parts: tuple[Part, ...], resume: str | None = None) -> OssUpload:
        name = self._name(key)
        if resume is None:
            with translate_errors(self.place(key)):
                root = self.requests.document(OssRequest("POST", name, {"uploads": ""}, FORBID))
                upload_id = root.findtext("UploadId")
                if not upload_id:
                    raise ValueError(f"<{root.tag}> names no upload")
            return OssUpload(self, key, parts, upload_id)
        if not resume or len(resume) > 128:
            raise NotFound(f"{self.place(key)}: {resume[:80]!r} names no upload")
        with translate_errors(self.place(key)):
            listed = self.held_parts(name, resume)
        return OssUpload(self, key, parts, resume, listed)

    def open(self, key: str, offset_bytes: int = 0) -> OssStream:
        name, place = self._name(key), self.place(key)
        # Without this header OSS answers an offset past the end with the whole object.
        headers = {"x-oss-range-behavior": "standard"}
        if offset_bytes:
            headers["range"] = f"bytes={offset_bytes}-"
        try:
            with translate_errors(place):
                answer = self.requests.ask(OssRequest("GET", name, headers=headers))
        except Invalid as error:
            if not isinstance(error.__cause__, ErrorBody) or error.__cause__.answer.code != "InvalidRange":
                raise
            return OssStream(None, place)
        if offset_bytes and answer.status != 206:
            answer.close()
            raise Unavailable(f"{place}: {answer.status} to a range from {offset_bytes} on: the range was ignored")
        return OssStream(answer, place)

    def stat(self, key: str) -> Stat:
        name = self._name(key)
        with translate_errors(self.place(key)):
            headers = self.requests.ask(OssRequest("HEAD", name)).headers
            size_bytes, tag = int(headers["content-length"]), headers.get("etag", "").strip('"')
            return Stat(key, size_bytes, crc64_in(headers), time_in(headers, "last-modified"), tag)

    def list(self, prefix: str) -> Iterator[Stat]:
        asked = {"list-type": "2", "prefix": self._prefix + parse_prefix(prefix)} | _PAGED
        token = ""
        while True:
            with translate_errors(self.place(prefix)):
                params = asked | {"max-keys": str(_PAGE), "continuation-token": token}
                before = token
                page, token = objects_in(self.requests.document(OssRequest("GET", "", params)))
                if token and token == before:
                    raise ValueError("the listing goes round in a circle")
            for stat in page:
                yield replace(stat, key=stat.key.removeprefix(self._prefix))
            if not token:
                return

    def pending(self, prefix: str) -> Iterator[PendingUpload]:
        asked = {"uploads": "", "prefix": self._prefix + parse_prefix(prefix)} | _PAGED
        key_marker = id_marker = ""
        while True:
            with translate_errors(self.place(prefix)):
                params = asked | {"max-uploads": str(_PAGE), "key-marker": key_marker, "upload-id-marker": id_marker}
                before = key_marker, id_marker
                page, (key_marker, id_marker) = uploads_in(self.requests.document(OssRequest("GET", "", params)))
                if key_marker and (key_marker, id_marker) == before:
                    raise ValueError("the listing goes round in a circle")
            for upload in page:
                yield replace(upload, key=upload.key.removeprefix(self._prefix))
            if not key_marker:
                return

    def delete(self, key: str) -> None:
        name = self._name(key)
        with contextlib.suppress(NotFound), translate_errors(self.place(key)):
            self.sdk.delete(name)

    def held_parts(self, name: str, upload_id: str, only: int = 0) -> dict[int, UploadedPart]:
        """The parts of an upload, or that of one number, by number. To be called inside `_translated`."""
        held: dict[int, UploadedPart] = {}
        marker, most = (str(only - 1), 1) if only else ("0", _PAGE)
        while marker:
            params = {"uploadId": upload_id, "part-number-marker": marker, "max-parts": str(most)}
            page, following = parts_in(self.requests.document(OssRequest("GET", name, params)))
            held |= page
            if following and int(following) <= int(marker):
                raise ValueError("the listing goes round in a circle")
            marker = "" if only else following
        return held

    def place(self, key: str) -> str:
        """The name of an object in messages."""
        return f"oss://{self._settings.bucket}/{self._prefix}{key}"

    def location(self, source: str | Location) -> Location:
        """What is to be copied. Raises Refused: it is in another region, and copies never leave theirs."""
        here = self._settings
        found = Location(here.region, here.bucket, self._name(source)) if isinstance(source, str) else source
        if found.region != here.region:
            raise Refused(f"oss://{found.bucket} is in {found.region}, {here.bucket} is in {here.region}")
        return found

    def settled(self, key: str, size_bytes: int, crc64: int, why: Exception) -> Stat:
        """What is at the key, if it is what we wanted there.

        Raises:
            Conflict: Something else is there. `why` is the cause.
            NotFound: Nothing is there.
        """
        found = self.stat(key)
        if (found.size_bytes, found.crc64) != (size_bytes, crc64):
            raise Conflict(
                f"{self.place(key)}: {found.size_bytes} bytes with crc64 {hex_of(found.crc64)} are there, "
                f"{size_bytes} with {hex_of(crc64)} were to be"
            ) from why
        return found

    def _name(self, key: str) -> str:
        return self._prefix + parse_key(key, room_bytes=len(self._prefix.encode()))


class OssStream:
    """The bytes of one object as they come."""

    def __init__(self, response: HttpBody | None, place: str) -> None:
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
