"""One OSS bucket, or a prefix of it: its requests, and what store and uploads need of them alike.

`requests` makes requests, `sdk` those that are rare, `http` carries them. Nothing is retried here.
"""

from __future__ import annotations

import contextlib
import re
from functools import cached_property
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from syncd.errors import Conflict, Invalid, NotFound, Refused
from syncd.store.base import Stat
from syncd.store.keys import parse_key, parse_prefix
from syncd.store.oss.dial import PoolSettings
from syncd.store.oss.http import HttpPool
from syncd.store.oss.requests import OssClient, OssRequest, crc64_in, time_in
from syncd.store.oss.responses import UploadedPart, hex_of, parts_in
from syncd.store.oss.settings import OssSettings
from syncd.values.bucket import BucketFacts
from syncd.values.source import Location

if TYPE_CHECKING:
    from syncd.store.oss.sdk import Bucket

PAGE: Final = 1000  # the most OSS gives
_BUCKET_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_HOST: Final = re.compile(r"[\w.:-]+")


class OssBucket:
    """Safe from several threads."""

    def __init__(self, settings: OssSettings) -> None:
        """Makes no request. Raises Invalid: the endpoint, bucket or prefix cannot be right."""
        self._settings = settings
        self.prefix: Final = parse_prefix(settings.prefix)
        url = urlsplit(settings.endpoint)
        if url.scheme not in {"http", "https"} or not _HOST.fullmatch(url.hostname or ""):
            raise Invalid(f"endpoint {settings.endpoint!r} is not a URL", hint="https://oss-<region>.aliyuncs.com")
        if not _BUCKET_NAME.fullmatch(settings.bucket):
            raise Invalid(f"{settings.bucket[:80]!r} is not a bucket name", hint="3 to 63 of a-z, 0-9 and -")
        self.http: Final = HttpPool(PoolSettings(settings.read_timeout_s, settings.connections_max, settings.proxy))
        self.requests: Final = OssClient(settings, self.http)

    def __repr__(self) -> str:
        return f"oss://{self._settings.bucket}/{self.prefix} in {self._settings.region}"

    @cached_property
    def sdk(self) -> Bucket:
        """The view that oss2 has of the bucket."""
        from syncd.store.oss.sdk import Bucket  # noqa: PLC0415 - a copy does without it

        return Bucket(self._settings, self.http)

    def facts(self) -> BucketFacts:
        """What the bucket reports of itself. Raises Refused: this user may not ask."""
        with self.requests.translated(str(self)):
            return self.sdk.facts()

    def stat(self, key: str) -> Stat:
        name = self.name(key)
        with self.requests.translated(self.url(key)):
            headers = self.requests.ask(OssRequest("HEAD", name)).headers
            size_bytes, tag = int(headers["content-length"]), headers.get("etag", "").strip('"')
            return Stat(key, size_bytes, crc64_in(headers), time_in(headers, "last-modified"), tag)

    def delete(self, key: str) -> None:
        name = self.name(key)
        with contextlib.suppress(NotFound), self.requests.translated(self.url(key)):
            self.sdk.delete(name)

    def held_parts(self, name: str, upload_id: str, only: int = 0) -> dict[int, UploadedPart]:
        """The parts of an upload, or that of one number, by number. To be called inside `requests.translated`."""
        held: dict[int, UploadedPart] = {}
        marker, most = (str(only - 1), 1) if only else ("0", PAGE)
        while marker:
            params = {"uploadId": upload_id, "part-number-marker": marker, "max-parts": str(most)}
            page, following = parts_in(self.requests.document(OssRequest("GET", name, params)))
            held |= page
            if following and int(following) <= int(marker):
                raise ValueError("the listing does not end: its next page is the same one")
            marker = "" if only else following
        return held

    def url(self, key: str) -> str:
        """The URL of an object, for messages."""
        return f"oss://{self._settings.bucket}/{self.prefix}{key}"

    def location(self, source: str | Location) -> Location:
        """What is to be copied. Raises Refused: it is in another region, and copies never leave theirs."""
        here = self._settings
        found = Location(here.region, here.bucket, self.name(source)) if isinstance(source, str) else source
        if found.region != here.region:
            raise Refused(f"oss://{found.bucket} is in {found.region}, {here.bucket} is in {here.region}")
        return found

    def settled(self, key: str, size_bytes: int, crc64: int, why: Exception) -> Stat:
        """Metadata of the object at the key, if it has the expected bytes.

        Raises:
            Conflict: Something else is there. `why` is the cause.
            NotFound: Nothing is there.
        """
        found = self.stat(key)
        if (found.size_bytes, found.crc64) != (size_bytes, crc64):
            raise Conflict(
                f"{self.url(key)}: {found.size_bytes} bytes with crc64 {hex_of(found.crc64)} are there, "
                f"{size_bytes} with {hex_of(crc64)} were to be"
            ) from why
        return found

    def name(self, key: str) -> str:
        """The name of an object in the bucket. Raises Invalid."""
        return self.prefix + parse_key(key, room_bytes=len(self.prefix.encode()))
