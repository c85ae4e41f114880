"""A store in an Alibaba Cloud OSS bucket. The only file that imports oss2.

The SDK makes and signs requests, `oss_wire` carries them; what is sent when, and what is believed, is decided here:
multipart calls one by one, forbid-overwrite on Initiate and Complete, our own CRC against the server's for each part
and for the whole.
Parts go out as one buffer each; the SDK's own CRC (50 times slower) and redirects are off; it never retries.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, Final
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree as ET

import oss2
import oss2.exceptions

from syncd.artifact.digest import crc64 as crc64_of
from syncd.artifact.parts import MIB, Part
from syncd.errors import Conflict, Corrupt, Invalid, NotFound, Refused, Unavailable
from syncd.registry.base import Location
from syncd.silence import heard
from syncd.store.base import Buffer, PendingUpload, PutMode, Receipt, Stat, Traits
from syncd.store.keys import parse_key, parse_prefix
from syncd.store.oss_answers import HeldPart, crc64_in, crc64_of_parts, hex_of, parts_in, time_in, time_of
from syncd.store.oss_errors import Answer as OssAnswer
from syncd.store.oss_errors import translate
from syncd.store.oss_settings import Credentials, OssSettings
from syncd.store.oss_sign import Signer
from syncd.store.oss_wire import Answer, Wire, WireSettings

__all__ = ["Credentials", "OssSettings", "OssStore", "OssUpload"]

_PAGE: Final = 1000  # the most OSS gives
_STATUS_WRONG: Final = 300  # from here on oss2 makes an error of the answer
_FORBID: Final = {"x-oss-forbid-overwrite": "true"}
_TRAITS: Final = Traits(
    create_is_atomic=True,
    stat_has_crc64=True,
    needs_directory_markers=True,
    part_min_bytes=100 << 10,
    part_max_bytes=5 * 1024 * MIB,
    parts_max=10_000,
)


class OssStore:
    """See `syncd.store.base.Store`."""

    traits: Final = _TRAITS

    def __init__(self, settings: OssSettings) -> None:
        """Makes no request. Raises Invalid: the endpoint, bucket or prefix cannot be right."""
        logging.getLogger("oss2").setLevel(logging.WARNING)  # below, it logs headers, and tokens are in them
        self._settings = settings
        self._prefix = parse_prefix(settings.prefix)
        url = urlsplit(settings.endpoint)
        if url.scheme not in {"http", "https"} or not url.hostname:
            raise Invalid(f"endpoint {settings.endpoint!r} is not an address", hint="https://oss-<region>.aliyuncs.com")
        with _translated(f"oss://{settings.bucket}"):
            self.bucket: Final = _Bucket(settings)

    def __repr__(self) -> str:
        return f"OssStore(oss://{self._settings.bucket}/{self._prefix} in {self._settings.region})"

    def put(self, key: str, data: Buffer, mode: PutMode) -> Stat:
        name, place, want = self._name(key), self.place(key), crc64_of(data)
        try:
            with _translated(place):
                answer = self.bucket.put_object(name, data, headers=_FORBID if mode is PutMode.CREATE else None)
                got = crc64_in(answer.headers)
        except Conflict as error:
            return self.settled(key, len(data), want, error)
        if got != want:
            self.delete(key)
            raise Corrupt(f"{place}: OSS stored crc64 {hex_of(got)}, {hex_of(want)} was sent; it is deleted again")
        return Stat(key, len(data), got, time_in(answer.headers, "date"), answer.etag)

    def upload(self, key: str, parts: tuple[Part, ...], resume: str | None = None) -> OssUpload:
        name = self._name(key)
        if resume is None:
            with _translated(self.place(key)):
                upload_id = str(self.bucket.init_multipart_upload(name, headers=_FORBID).upload_id)
            return OssUpload(self, key, parts, upload_id)
        if not resume or len(resume) > 128:
            raise NotFound(f"{self.place(key)}: {resume[:80]!r} names no upload")
        with _translated(self.place(key)):
            listed = self.bucket.held_parts(name, resume)
        return OssUpload(self, key, parts, resume, listed)

    def open(self, key: str, offset_bytes: int = 0) -> OssStream:
        name, place = self._name(key), self.place(key)
        # Without this header OSS answers an offset past the end with the whole object.
        headers = {"x-oss-range-behavior": "standard"}
        try:
            with _translated(place):
                run = (offset_bytes, None) if offset_bytes else None
                answer = self.bucket.get_object(name, byte_range=run, headers=headers)
        except Invalid as error:
            if getattr(error.__cause__, "code", "") != "InvalidRange":
                raise
            return OssStream(None, place)
        if offset_bytes and answer.status != 206:
            answer.close()
            raise Unavailable(f"{place}: {answer.status} to a range from {offset_bytes} on: the range was ignored")
        return OssStream(answer.resp, place)

    def stat(self, key: str) -> Stat:
        name = self._name(key)
        with _translated(self.place(key)):
            headers = self.bucket.head_object(name).headers
            size_bytes, tag = int(headers["content-length"]), headers.get("etag", "").strip('"')
            return Stat(key, size_bytes, crc64_in(headers), time_in(headers, "last-modified"), tag)

    def list(self, prefix: str) -> Iterator[Stat]:
        name, token = self._prefix + parse_prefix(prefix), ""
        while True:
            with _translated(self.place(prefix)):
                page = self.bucket.list_objects_v2(name, continuation_token=token, max_keys=_PAGE)
                found = [
                    Stat(o.key.removeprefix(self._prefix), int(o.size), None, time_of(o.last_modified), o.etag)
                    for o in page.object_list
                ]
            yield from found
            token = page.next_continuation_token
            if not page.is_truncated:
                return

    def pending(self, prefix: str) -> Iterator[PendingUpload]:
        name, key_marker, id_marker = self._prefix + parse_prefix(prefix), "", ""
        while True:
            with _translated(self.place(prefix)):
                page = self.bucket.list_multipart_uploads(
                    name, key_marker=key_marker, upload_id_marker=id_marker, max_uploads=_PAGE
                )
                found = [
                    PendingUpload(u.key.removeprefix(self._prefix), str(u.upload_id), time_of(u.initiation_date))
                    for u in page.upload_list
                ]
            yield from found
            key_marker, id_marker = page.next_key_marker, page.next_upload_id_marker
            if not page.is_truncated:
                return

    def delete(self, key: str) -> None:
        name = self._name(key)
        with contextlib.suppress(NotFound), _translated(self.place(key)):
            self.bucket.delete_object(name)

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


class OssUpload:
    """See `syncd.store.base.Upload`. `token` is OSS's upload id."""

    def __init__(
        self, store: OssStore, key: str, parts: tuple[Part, ...], token: str, held: dict[int, HeldPart] | None = None
    ) -> None:
        self.token: Final = token
        self._store = store
        self._key = key
        self._name = store._name(key)  # noqa: SLF001 - one adapter in two classes
        self._parts = parts
        self._held = held or {}
        self._lock = Lock()

    def has(self, part: Part, crc64: int) -> bool:
        with self._lock:
            held = self._held.get(part.number)
        return held is not None and (held.size_bytes, held.crc64) == (part.size_bytes, crc64)

    def send(self, part: Part, data: Buffer, crc64: int) -> Receipt:
        with _translated(f"{self._place} part {part.number}"):
            held = self._store.bucket.sent_part(self._name, self.token, part.number, data)
        return self._keep(part, held, crc64)

    def copy(self, part: Part, source: str | Location, offset_bytes: int, crc64: int) -> Receipt:
        bucket, run = self._store.bucket, (offset_bytes, offset_bytes + part.size_bytes - 1)
        there = self._store.location(source)
        with _translated(f"{self._place} part {part.number} from oss://{there.bucket}/{there.key}"):
            answer = bucket.upload_part_copy(there.bucket, there.key, run, self._name, self.token, part.number)
            held = HeldPart(answer.etag, part.size_bytes, crc64_in(answer.headers))
            if held.crc64 is None:  # OSS may tell it of a copy only where it lists the parts
                held = bucket.held_parts(self._name, self.token, part.number).get(part.number, held)
        return self._keep(part, held, crc64)

    def complete(self, crc64: int) -> Stat:
        size_bytes = sum(part.size_bytes for part in self._parts)
        try:
            parts = self._proven_parts(crc64)
            with _translated(self._place):
                answer = self._store.bucket.complete_multipart_upload(self._name, self.token, parts, headers=_FORBID)
                got = crc64_in(answer.headers)
        except (Conflict, NotFound) as error:
            return self._settle(size_bytes, crc64, error)
        except Unavailable as error:
            try:
                return self._settle(size_bytes, crc64, error)
            except NotFound:
                raise error from error.__cause__  # not completed: asking again is harmless
        if got != crc64:
            self._store.delete(self._key)
            raise Corrupt(
                f"{self._place}: OSS says crc64 {hex_of(got)} of the whole, {hex_of(crc64)} is wanted; "
                "it is deleted again"
            )
        return Stat(self._key, size_bytes, got, time_in(answer.headers, "date"), answer.etag)

    def abort(self) -> None:
        with contextlib.suppress(NotFound), _translated(self._place):
            self._store.bucket.abort_multipart_upload(self._name, self.token)

    def _keep(self, part: Part, held: HeldPart, crc64: int) -> Receipt:
        if held.crc64 is None or (held.size_bytes, held.crc64) != (part.size_bytes, crc64):
            raise Corrupt(
                f"{self._place} part {part.number}: OSS holds {held.size_bytes} bytes with crc64 {hex_of(held.crc64)}, "
                f"{part.size_bytes} with {hex_of(crc64)} were announced"
            )
        with self._lock:
            self._held[part.number] = held
        return Receipt(held.size_bytes, held.crc64)

    @property
    def _place(self) -> str:
        return self._store.place(self._key)

    def _proven_parts(self, crc64: int) -> list[Any]:
        """The parts to name in Complete, after their CRCs, put together, have given that of the whole."""
        with self._lock:
            held = dict(self._held)
        if any(part.number not in held for part in self._parts):
            with _translated(self._place):
                held = self._store.bucket.held_parts(self._name, self.token) | held
        combined = crc64_of_parts(self._parts, held, self._place)
        if combined != crc64:
            raise Corrupt(f"{self._place}: the parts make crc64 {hex_of(combined)}, {hex_of(crc64)} is wanted")
        return [oss2.models.PartInfo(part.number, held[part.number].etag) for part in self._parts]

    def _settle(self, size_bytes: int, crc64: int, why: Exception) -> Stat:
        """Complete did not say yes: the object itself says whether it was carried out, by us or by another."""
        try:
            found = self._store.settled(self._key, size_bytes, crc64, why)
        except NotFound as error:
            raise NotFound(f"{self._place}: upload {self.token} is gone and nothing is at the key") from error
        self.abort()
        return found


class OssStream:
    """The bytes of one object as they come."""

    def __init__(self, response: Answer | None, place: str) -> None:
        self._response = response
        self._place = place

    def readinto(self, buffer: memoryview) -> int:
        if self._response is None:
            return 0
        with _translated(self._place):
            return self._response.readinto(buffer)

    def __enter__(self) -> OssStream:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._response is not None:
            self._response.close()


class _Bucket(oss2.Bucket):  # type: ignore[misc]  # oss2 has no types
    """oss2's bucket, with what its parser drops."""

    def __init__(self, settings: OssSettings) -> None:
        super().__init__(
            Signer(settings.credentials),
            settings.endpoint,
            settings.bucket,
            session=_Session(settings),
            connect_timeout=settings.read_timeout_s,
            enable_crc=False,
            region=settings.region,
            is_path_style=settings.path_style,
        )

    def sent_part(self, name: str, upload_id: str, number: int, data: Buffer) -> HeldPart:
        """As `upload_part`, which spends as much on what it would log as on the request."""
        answer = self._do(
            "PUT", self.bucket_name, name, params={"uploadId": upload_id, "partNumber": str(number)}, data=data
        )
        return HeldPart(answer.headers.get("etag", "").strip('"'), len(data), crc64_in(answer.headers))

    def held_parts(self, name: str, upload_id: str, only: int = 0) -> dict[int, HeldPart]:
        """The parts of an upload, or that of one number, with their CRCs, which `list_parts` leaves out."""
        held: dict[int, HeldPart] = {}
        marker, most = (str(only - 1), 1) if only else ("0", _PAGE)
        while marker:
            params = {"uploadId": upload_id, "part-number-marker": marker, "max-parts": str(most)}
            page, marker = parts_in(self._do("GET", self.bucket_name, name, params=params).read())
            held |= page
            marker = "" if only else marker
        return held


class _Session:
    """Sends requests as oss2 made them, by a client of ours: see `oss_wire`."""

    def __init__(self, settings: OssSettings) -> None:
        self._wire = Wire(WireSettings(settings.read_timeout_s, settings.connections_max, settings.proxy))

    def do_request(self, req: Any, timeout: object) -> Answer:  # noqa: ARG002 - the settings have it
        query = urlencode([(name, value) for name, value in req.params.items() if value is not None])
        headers = {name: value for name, value in req.headers.items() if value is not None}
        try:
            answer = self._wire.ask(req.method, f"{req.url}?{query}" if query else req.url, headers, req.data or b"")
            if req.method != "GET" or answer.status >= _STATUS_WRONG:
                answer.load()
        except OSError as error:
            raise oss2.exceptions.RequestError(error) from error
        return answer


@contextmanager
def _translated(where: str) -> Iterator[None]:
    """Whatever oss2 and what is below it raise becomes one of ours, and stays in `__cause__`.

    Bodies are read by us while oss2 parses them; its parsers raise RuntimeError and whatever a malformed answer makes
    of `int` and `find`.
    """
    heard()
    try:
        yield
    except oss2.exceptions.OssError as error:
        message = error.message or str(error.body)
        raise translate(OssAnswer(error.status, str(error.code), message, error.headers or {}), where) from error
    except OSError as error:
        what = "no byte came for too long" if isinstance(error, TimeoutError) else "the connection broke"
        raise Unavailable(f"{where}: {what}: {error}") from error
    except (ET.ParseError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unavailable(f"{where}: the answer cannot be read: {error!r}") from error
