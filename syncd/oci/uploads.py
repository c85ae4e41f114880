"""Chunked upload of one blob: each chunk starts at the offset that the registry reports."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

import httpx

from syncd import retry
from syncd.artifact.digest import Digest
from syncd.errors import Corrupt, Failed, Invalid, NotFound, SyncdError, Unavailable
from syncd.http.client import HttpClient, HttpRequest, HttpResponse
from syncd.http.responses import join_url, printable
from syncd.oci.errors import UploadLost

_PIECE_BYTES: Final = 1 << 18  # a longer one is copied again each time the socket takes a part of it
_RANGE: Final = re.compile(r"(?:bytes=)?0-(\d{1,19})")
_RETRY: Final = retry.Retry(attempts_max=6, elapsed_max_s=120.0)
OCTETS: Final = "application/octet-stream"


class RepositoryHttp:
    """The connections to one repository, with their scope. Safe from several threads."""

    def __init__(self, http: HttpClient, scope: str, wait: Callable[[float], bool] = retry.sleep) -> None:
        self.http: Final = http
        self.scope: Final = scope
        self.wait: Final = wait

    def once(self, method: str, url: str, headers: dict[str, str]) -> HttpResponse:
        """One request without a body, made once. Raises as `HttpClient.fetch_once`."""
        return self.http.fetch_once(HttpRequest(url, {**headers, "Content-Length": "0"}, method, self.scope))

    def send(self, url: str, headers: dict[str, str], data: memoryview, *, outlives: bool) -> HttpResponse:
        """A chunk, sent once. Raises as `HttpClient.fetch_once`."""
        sent = {**headers, "Content-Length": str(data.nbytes)}
        return self.http.fetch_once(HttpRequest(url, sent, "PATCH", self.scope, lambda: pieces(data), outlives))

    def location(self, response: HttpResponse) -> str:
        """Where the upload continues.

        Raises:
            Failed: The response has no Location.
            Invalid: The location must not get bytes: it is not encrypted.
        """
        found = response.headers.get("location", "")
        if not found:
            raise Failed(
                f"{printable(response.url)}: status {response.status} without a Location",
                hint="is this an image repository?",
            )
        place = join_url(response.url, found)
        if response.url.startswith("https:") and not place.startswith("https:"):
            raise Invalid(
                f"{printable(response.url)}: the upload continues at {printable(place)}, which is not encrypted",
                hint="have the proxy in front of the registry send X-Forwarded-Proto",
            )
        return place


class BlobUpload:
    """An unfinished upload; invisible until `complete`. For one thread."""

    def __init__(self, wire: RepositoryHttp, location: str, chunk_bytes_min: int = 0) -> None:
        self.location = location
        """The address at which it resumes after a crash."""
        self.outlives = False
        """Whether a chunk under way must complete even if this process is killed; see `oci.upload_helper`."""
        self.offset_bytes = 0
        self.chunk_bytes_min: Final = chunk_bytes_min
        self._wire = wire

    def refresh(self) -> None:
        """Query the registry for the offset.

        Raises:
            UploadLost: The registry does not know the upload.
            Unavailable, Refused: The registry does not answer.
        """
        try:
            response = self._wire.http.fetch(HttpRequest(self.location, scope=self._wire.scope))
        except NotFound as error:
            raise UploadLost(error.message) from error
        self.offset_bytes = _accepted(response)
        if "location" in response.headers:
            self.location = self._wire.location(response)

    def send(self, data: memoryview, pace: Callable[[int], None] = lambda size_bytes: None) -> None:  # noqa: ARG005 -- at once
        """Append a chunk. After a lost response the offset is queried, and only missing bytes are sent.

        `pace` waits until so many bytes may be sent; it is called at each try.

        Raises:
            UploadLost: The registry has fewer bytes than it confirmed, more than were sent, or none: start again.
            Unchunked: It accepts no chunks.
            Failed, Refused, Unavailable, Invalid: From the registry, past all tries.
        """
        begin, is_unknown = self.offset_bytes, False

        def go_on() -> None:
            nonlocal is_unknown
            if is_unknown:
                self.refresh()
            self._check(begin, data.nbytes)
            rest = data[self.offset_bytes - begin :]
            if not rest:
                return
            pace(rest.nbytes)
            is_unknown = True
            self._append(rest)
            is_unknown = False
            self._check(begin, data.nbytes)
            if self.offset_bytes - begin < data.nbytes:
                raise Unavailable(
                    f"{printable(self.location)}: expected {begin + data.nbytes} bytes, got {self.offset_bytes}"
                )

        retry.call(_RETRY, go_on, wait=self._wire.wait)

    def complete(self, digest: Digest, size_bytes: int) -> None:
        """Make the blob visible under its digest, if the registry computes the same one.

        After Unavailable it may exist: the caller must check.

        Raises:
            Corrupt: The registry has other bytes. Nothing is visible.
            UploadLost, Failed, Refused, Unavailable: From the registry.
        """
        if self.offset_bytes != size_bytes:
            raise UploadLost(f"{printable(self.location)}: expected {size_bytes} bytes, got {self.offset_bytes}")
        try:
            response = self._wire.once("PUT", with_digest(self.location, digest), {"Content-Type": OCTETS})
        except NotFound as error:
            raise UploadLost(error.message) from error
        check_digest(response, digest)

    def abort(self) -> None:
        """Delete the upload if the registry allows it; it deletes old ones by itself."""
        try:
            self._wire.once("DELETE", self.location, {})
        except SyncdError:
            return

    def _append(self, rest: memoryview) -> None:
        end = self.offset_bytes + rest.nbytes
        headers = {"Content-Type": OCTETS, "Content-Range": f"{self.offset_bytes}-{end - 1}"}
        try:
            outlives = self.outlives and _is_for_one_offset(self.location)
            response = self._wire.send(self.location, headers, rest, outlives=outlives)
        except NotFound as error:
            raise UploadLost(error.message) from error
        self.location = self._wire.location(response)
        self.offset_bytes = _accepted(response) if "range" in response.headers else end

    def _check(self, begin: int, size_bytes: int) -> None:
        if self.offset_bytes < begin:
            raise UploadLost(f"{printable(self.location)}: expected at least {begin} bytes, got {self.offset_bytes}")
        if self.offset_bytes > begin + size_bytes:
            raise UploadLost(  # another build of the same layer continues the same upload
                f"{printable(self.location)}: expected at most {begin + size_bytes} bytes, got {self.offset_bytes}"
            )


def _is_for_one_offset(location: str) -> bool:
    """Whether an address is `docker-registry`'s, which is valid for one request only."""
    return "_state" in httpx.URL(location).params


def with_digest(location: str, digest: Digest) -> str:
    """The address that completes an upload. The registry's own parameters stay."""
    return str(httpx.URL(location).copy_merge_params({"digest": f"sha256:{digest}"}))


def check_digest(response: HttpResponse, digest: Digest) -> None:
    """Raises Corrupt: the registry reports another digest than the one sent."""
    reported = response.headers.get("docker-content-digest", f"sha256:{digest}")
    if reported != f"sha256:{digest}":
        raise Corrupt(f"{printable(response.url)}: expected sha256:{digest}, the registry has {reported[:80]!r}")


def pieces(data: memoryview) -> Iterator[bytes]:
    """A buffer as a body."""
    for begin in range(0, data.nbytes, _PIECE_BYTES):
        yield bytes(data[begin : begin + _PIECE_BYTES])


def _accepted(response: HttpResponse) -> int:
    """The number of bytes that the registry has. `0-0` means none: one byte is reported alike, and never sent alone."""
    match = _RANGE.fullmatch(response.headers.get("range", "0-0"))
    if not match:
        raise Failed(f"{printable(response.url)}: expected the range 0-…, got {response.headers['range'][:80]!r}")
    return 0 if match[1] == "0" else int(match[1]) + 1
