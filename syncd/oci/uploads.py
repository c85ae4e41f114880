"""One blob on its way into a repository: in chunks, each from where the registry says it stands."""

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

_PIECE_BYTES: Final = 1 << 18  # a longer one is copied anew for each time that the socket takes some of it
_RANGE: Final = re.compile(r"(?:bytes=)?0-(\d{1,19})")
_RETRY: Final = retry.Retry(attempts_max=6, elapsed_max_s=120.0)
OCTETS: Final = "application/octet-stream"


class RepositoryHttp:
    """The connections to one repository, and in whose name they are used. Safe from several threads."""

    def __init__(self, http: HttpClient, scope: str, wait: Callable[[float], bool] = retry.sleep) -> None:
        self.http: Final = http
        self.scope: Final = scope
        self.wait: Final = wait

    def once(self, method: str, url: str, headers: dict[str, str]) -> HttpResponse:
        """One request without a body, made once. Raises as `Http.once`."""
        return self.http.fetch_once(HttpRequest(url, {**headers, "Content-Length": "0"}, method, self.scope))

    def send(self, url: str, headers: dict[str, str], data: memoryview, *, outlives: bool) -> HttpResponse:
        """A chunk, sent once. Raises as `Http.once`."""
        told = {**headers, "Content-Length": str(data.nbytes)}
        return self.http.fetch_once(HttpRequest(url, told, "PATCH", self.scope, lambda: pieces(data), outlives))

    def location(self, answer: HttpResponse) -> str:
        """Where an answer says to go on.

        Raises:
            Failed: It does not say.
            Invalid: There is nothing to be trusted with bytes there.
        """
        found = answer.headers.get("location", "")
        if not found:
            raise Failed(
                f"{printable(answer.url)}: answered {answer.status} without a Location",
                hint="is this an image repository?",
            )
        place = join_url(answer.url, found)
        if answer.url.startswith("https:") and not place.startswith("https:"):
            raise Invalid(
                f"{printable(answer.url)}: uploads are to go on at {printable(place)}, which is not encrypted",
                hint="what stands in front of the registry has to tell it X-Forwarded-Proto",
            )
        return place


class BlobUpload:
    """An upload that was begun; invisible until `complete`. For one thread."""

    def __init__(self, wire: RepositoryHttp, location: str, chunk_bytes_min: int = 0) -> None:
        self.location = location
        """What resumes it after a crash, together with what the registry says then."""
        self.outlives = False
        """Whether a chunk that was begun is to be ended even if this process is killed; see `oci.courier`."""
        self.offset_bytes = 0
        self.chunk_bytes_min: Final = chunk_bytes_min
        self._wire = wire

    def look(self) -> None:
        """Ask the registry how much it has.

        Raises:
            UploadLost: It knows nothing of it.
            Unavailable, Refused: It does not say.
        """
        try:
            answer = self._wire.http.fetch(HttpRequest(self.location, scope=self._wire.scope))
        except NotFound as error:
            raise UploadLost(error.message) from error
        self.offset_bytes = _accepted(answer)
        if "location" in answer.headers:
            self.location = self._wire.location(answer)

    def send(self, data: memoryview, pace: Callable[[int], None] = lambda size_bytes: None) -> None:  # noqa: ARG005 -- at once
        """Append a chunk. After an answer that was lost the registry is asked, and only what it lacks is sent.

        `pace` waits until so many bytes may be sent; it is asked at each try.

        Raises:
            UploadLost: It has less than it had said, or more than was sent, or nothing: begin anew.
            Unchunked: It takes no chunks at all.
            Failed, Refused, Unavailable, Invalid: As the registry says, past all tries.
        """
        begin, is_unknown = self.offset_bytes, False

        def go_on() -> None:
            nonlocal is_unknown
            if is_unknown:
                self.look()
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
                    f"{printable(self.location)}: {self.offset_bytes} bytes were kept, {begin + data.nbytes} were sent"
                )

        retry.call(_RETRY, go_on, wait=self._wire.wait)

    def complete(self, digest: Digest, size_bytes: int) -> None:
        """Make the blob visible under its digest, if the registry finds the same one.

        After Unavailable it may be there: the caller has to look.

        Raises:
            Corrupt: It says that it has other bytes. Nothing is visible.
            UploadLost, Failed, Refused, Unavailable: As the registry says.
        """
        if self.offset_bytes != size_bytes:
            raise UploadLost(
                f"{printable(self.location)}: {self.offset_bytes} bytes are there, {size_bytes} were to be"
            )
        try:
            answer = self._wire.once("PUT", with_digest(self.location, digest), {"Content-Type": OCTETS})
        except NotFound as error:
            raise UploadLost(error.message) from error
        check_offset(answer, digest)

    def abort(self) -> None:
        """Throw it away, as far as the registry lets us; it clears what is old by itself."""
        try:
            self._wire.once("DELETE", self.location, {})
        except SyncdError:
            return

    def _append(self, rest: memoryview) -> None:
        end = self.offset_bytes + rest.nbytes
        headers = {"Content-Type": OCTETS, "Content-Range": f"{self.offset_bytes}-{end - 1}"}
        try:
            outlives = self.outlives and _is_for_one_offset(self.location)
            answer = self._wire.send(self.location, headers, rest, outlives=outlives)
        except NotFound as error:
            raise UploadLost(error.message) from error
        self.location = self._wire.location(answer)
        self.offset_bytes = _accepted(answer) if "range" in answer.headers else end

    def _check(self, begin: int, size_bytes: int) -> None:
        if self.offset_bytes < begin:
            raise UploadLost(f"{printable(self.location)}: {self.offset_bytes} bytes are there, it had {begin} before")
        if self.offset_bytes > begin + size_bytes:
            raise UploadLost(  # another bake of the same layer goes on with the same upload
                f"{printable(self.location)}: {self.offset_bytes} bytes are there, {begin + size_bytes} were sent"
            )


def _is_for_one_offset(location: str) -> bool:
    """Whether an address is `docker-registry`'s, which is lost with the request that it is used for."""
    return "_state" in httpx.URL(location).params


def with_digest(location: str, digest: Digest) -> str:
    """Where an upload is completed. What else the registry has put into the address stays."""
    return str(httpx.URL(location).copy_merge_params({"digest": f"sha256:{digest}"}))


def check_offset(answer: HttpResponse, digest: Digest) -> None:
    """Raises Corrupt: the registry calls what it was given by another digest."""
    told = answer.headers.get("docker-content-digest", f"sha256:{digest}")
    if told != f"sha256:{digest}":
        raise Corrupt(f"{printable(answer.url)}: the registry says {told[:80]!r}, sha256:{digest} was sent")


def pieces(data: memoryview) -> Iterator[bytes]:
    """A buffer as a body."""
    for begin in range(0, data.nbytes, _PIECE_BYTES):
        yield bytes(data[begin : begin + _PIECE_BYTES])


def _accepted(answer: HttpResponse) -> int:
    """How many bytes the registry has. `0-0` is nothing: it says the same of one byte, which is not sent alone."""
    match = _RANGE.fullmatch(answer.headers.get("range", "0-0"))
    if not match:
        raise Failed(f"{printable(answer.url)}: the range is {answer.headers['range'][:80]!r}, 0-… is wanted")
    return 0 if match[1] == "0" else int(match[1]) + 1
