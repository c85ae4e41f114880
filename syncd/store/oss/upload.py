"""Multipart upload to OSS: each part is proven by its CRC, and the whole by their combination.

Parts go out as one buffer each. An answer to Complete that was lost is settled by looking at the object.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from threading import Lock
from typing import Final
from xml.etree import ElementTree as ET

from syncd.artifact.parts import Part
from syncd.errors import Conflict, Corrupt, NotFound, Unavailable
from syncd.store.base import Buffer, Receipt, Stat
from syncd.store.oss.bucket import OssBucket
from syncd.store.oss.requests import FORBID, OssRequest, crc64_in, time_in
from syncd.store.oss.responses import UploadedPart, crc64_of_parts, hex_of
from syncd.values.source import Location


class OssUpload:
    """See `syncd.store.base.Upload`. `token` is OSS's upload id."""

    def __init__(
        self,
        bucket: OssBucket,
        key: str,
        parts: tuple[Part, ...],
        token: str,
        held: dict[int, UploadedPart] | None = None,
    ) -> None:
        self.token: Final = token
        self._bucket = bucket
        self._requests = bucket.requests
        self._place = bucket.url(key)
        self._key = key
        self._name = bucket.name(key)
        self._parts = parts
        self._held = held or {}
        self._lock = Lock()

    def has(self, part: Part, crc64: int) -> bool:
        with self._lock:
            held = self._held.get(part.number)
        return held is not None and (held.size_bytes, held.crc64) == (part.size_bytes, crc64)

    def send(self, part: Part, data: Buffer, crc64: int) -> Receipt:
        with self._requests.translated(f"{self._place} part {part.number}"):
            params = {"partNumber": str(part.number), "uploadId": self.token}
            headers = self._requests.ask(OssRequest("PUT", self._name, params, data=data)).headers
            held = UploadedPart(headers.get("etag", "").strip('"'), len(data), crc64_in(headers))
        return self._keep(part, held, crc64)

    def copy(self, part: Part, source: str | Location, offset_bytes: int, crc64: int) -> Receipt:
        run = (offset_bytes, offset_bytes + part.size_bytes - 1)
        there = self._bucket.location(source)
        with self._requests.translated(f"{self._place} part {part.number} from oss://{there.bucket}/{there.key}"):
            held = self._bucket.sdk.copied_part((there.bucket, there.key), run, self._name, self.token, part.number)
            if held.crc64 is None:  # OSS may tell it of a copy only where it lists the parts
                held = self._bucket.held_parts(self._name, self.token, part.number).get(part.number, held)
        return self._keep(part, held, crc64)

    def complete(self, crc64: int) -> Stat:
        size_bytes = sum(part.size_bytes for part in self._parts)
        try:
            parts = self._proven_parts(crc64)
            with self._requests.translated(self._place):
                params = {"uploadId": self.token}
                headers = self._requests.ask(OssRequest("POST", self._name, params, FORBID, _naming(parts))).headers
                got, done_at = crc64_in(headers), time_in(headers, "date")
        except (Conflict, NotFound) as error:
            return self._settle(size_bytes, crc64, error)
        except Unavailable as error:
            try:
                return self._settle(size_bytes, crc64, error)
            except NotFound:
                raise error from error.__cause__  # not completed: asking again is harmless
        if got != crc64:
            self._bucket.delete(self._key)
            raise Corrupt(
                f"{self._place}: expected crc64 {hex_of(crc64)} of the whole, got {hex_of(got)} from OSS; "
                "it is deleted again"
            )
        return Stat(self._key, size_bytes, got, done_at, headers.get("etag", "").strip('"'))

    def abort(self) -> None:
        with contextlib.suppress(NotFound), self._requests.translated(self._place):
            self._bucket.sdk.abort(self._name, self.token)

    def _keep(self, part: Part, held: UploadedPart, crc64: int) -> Receipt:
        if held.crc64 is None or (held.size_bytes, held.crc64) != (part.size_bytes, crc64):
            raise Corrupt(
                f"{self._place} part {part.number}: OSS holds {held.size_bytes} bytes with crc64 {hex_of(held.crc64)}, "
                f"{part.size_bytes} with {hex_of(crc64)} were announced"
            )
        with self._lock:
            self._held[part.number] = held
        return Receipt(held.size_bytes, held.crc64)

    def _proven_parts(self, crc64: int) -> list[tuple[int, str]]:
        """The parts to name in Complete, after their CRCs, put together, have given that of the whole."""
        with self._lock:
            held = dict(self._held)
        if any(part.number not in held for part in self._parts):
            with self._requests.translated(self._place):
                held = self._bucket.held_parts(self._name, self.token) | held
        combined = crc64_of_parts(self._parts, held, self._place)
        if combined != crc64:
            raise Corrupt(
                f"{self._place}: expected crc64 {hex_of(crc64)} of the parts together, got {hex_of(combined)}"
            )
        return [(part.number, held[part.number].etag) for part in self._parts]

    def _settle(self, size_bytes: int, crc64: int, why: Exception) -> Stat:
        """Complete did not say yes: the object itself says whether it was carried out, by us or by another."""
        try:
            found = self._bucket.settled(self._key, size_bytes, crc64, why)
        except NotFound as error:
            raise NotFound(f"{self._place}: upload {self.token} is gone and nothing is at the key") from error
        self.abort()
        return found


def _naming(parts: Iterable[tuple[int, str]]) -> bytes:
    """What Complete asks for: the parts by number and tag."""
    root = ET.Element("CompleteMultipartUpload")
    for number, etag in parts:
        node = ET.SubElement(root, "Part")
        ET.SubElement(node, "PartNumber").text = str(number)
        ET.SubElement(node, "ETag").text = f'"{etag}"'
    return ET.tostring(root)
