"""A repository of images: blobs and manifests, looked at and pushed. What is pushed is called by its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from syncd import retry
from syncd.artifact.digest import Digest
from syncd.errors import Conflict, Corrupt, Invalid, NotFound, Unavailable
from syncd.http.client import Body, HttpClient, HttpRequest, HttpResponse
from syncd.http.download import ExpectedFile
from syncd.oci.uploads import OCTETS, BlobUpload, RepositoryHttp, check_offset, with_digest
from syncd.values.source import Stream

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
_ACCEPT: Final = {"Accept": f"{OCI_MANIFEST}, {OCI_INDEX}, {DOCKER_MANIFEST}, {DOCKER_LIST}"}
_RETRY: Final = retry.Retry(attempts_max=4, elapsed_max_s=60.0)
_CHUNK_MIN_MAX: Final = 256 << 20  # what a registry may want a chunk to have: it is held in memory


@dataclass(frozen=True, slots=True)
class ManifestDocument:
    """A manifest or an index as it lies there; `digest` is that of `body`."""

    kind: str
    body: bytes
    digest: Digest


class Repository:
    """See the top. Safe from several threads."""

    def __init__(
        self,
        origin: str,
        name: str,
        http: HttpClient,
        *,
        writes: bool = False,
        wait: Callable[[float], bool] = retry.sleep,
    ) -> None:
        """`http` has an `OciAccess`; `writes` says whether leave to push is asked for."""
        self.name: Final = name
        self.origin: Final = origin
        self._url = f"{origin}/v2/{name}"
        self._wire = RepositoryHttp(http, f"repository:{name}:{'pull,push' if writes else 'pull'}", wait)

    def __str__(self) -> str:
        return f"{self.origin.partition('://')[2]}/{self.name}"

    def rest(self) -> None:
        """Nothing is pushed for now. Repeating it is success."""
        self._wire.http.close_helpers()

    def has_blob(self, digest: Digest, size_bytes: int) -> bool:
        """Whether the registry has it.

        Raises:
            Corrupt: It has something of another size by this name.
            Unavailable, Refused: It does not say.
        """
        try:
            answer = self._look(self._blob(digest), method="HEAD")
        except NotFound:
            return False
        length = answer.headers.get("content-length", str(size_bytes))
        if length != str(size_bytes):
            raise Corrupt(f"{self}: blob {digest} has {length[:20]} bytes there, it has {size_bytes}")
        return True

    def mount(self, digest: Digest, source: str) -> BlobUpload | None:
        """Have the registry take a blob from another of its repositories.

        None means that it did. Otherwise it began an upload, for which the bytes have to be brought.
        """
        url = f"{self._url}/blobs/uploads/?mount=sha256:{digest}&from={source}"
        scope = f"{self._wire.scope} repository:{source}:pull"
        answer = self._wire.http.fetch(HttpRequest(url, {"Content-Length": "0"}, "POST", scope))
        if answer.status == 201:
            check_offset(answer, digest)
            return None
        return self._began(answer)

    def begin(self) -> BlobUpload:
        """An upload of nothing yet. Those that are begun and forgotten the registry clears by itself."""
        return self._began(self._look(f"{self._url}/blobs/uploads/", {"Content-Length": "0"}, "POST"))

    def resume(self, location: str) -> BlobUpload:
        """Go on with an upload. Raises UploadLost: the registry no longer knows it."""
        upload = BlobUpload(self._wire, location)
        upload.look()
        return upload

    def push_whole(self, digest: Digest, size_bytes: int, body: Body) -> None:
        """A blob in one request, for a registry that takes no chunks. `body` is asked for its pieces at each try."""
        headers = {"Content-Type": OCTETS, "Content-Length": str(size_bytes)}

        def push() -> None:
            place = with_digest(self.begin().location, digest)
            check_offset(self._wire.http.fetch_once(HttpRequest(place, headers, "PUT", self._wire.scope, body)), digest)

        retry.call(_RETRY, push, wait=self._wire.wait)

    def open(self, digest: Digest, size_bytes: int, offset_bytes: int = 0) -> Stream:
        """The bytes of a blob, which the caller proves. Raises NotFound; Unavailable where it breaks off."""
        ask = HttpRequest(self._blob(digest), scope=self._wire.scope)
        return self._wire.http.open(ask, ExpectedFile(f"blob {digest.short}", size_bytes), offset_bytes)

    def read(self, digest: Digest) -> bytes:
        """A small blob, a configuration for instance, proven.

        Raises:
            Corrupt: It is not what its digest says.
            NotFound, Unavailable, Refused: As the registry says.
        """
        body = self._look(self._blob(digest)).body
        self._prove(body, digest, f"blob {digest}")
        return body

    def manifest(self, reference: str) -> ManifestDocument:
        """A manifest or an index by tag or digest (`sha256:…`), proven against both.

        Raises:
            Corrupt: It is not what was asked for, or not what the registry calls it.
            NotFound, Unavailable, Refused: As the registry says.
        """
        answer = self._look(f"{self._url}/manifests/{reference}", _ACCEPT)
        digest = Digest(hashlib.sha256(answer.body).hexdigest())
        if reference.startswith("sha256:"):
            self._prove(answer.body, Digest.parse(reference), f"manifest {reference}")
        check_offset(answer, digest)
        return ManifestDocument(answer.headers.get("content-type", "").partition(";")[0].strip(), answer.body, digest)

    def push_manifest(self, tag: str, document: ManifestDocument) -> None:
        """Make an image visible. The last write of it; repeating it is success.

        Raises:
            Conflict: The tag names another image, or a layer is gone again. A tag is never moved.
            Invalid: The registry does not take such images.
        """

        def push() -> None:
            if not self._is_tagged(tag, document):
                headers = {"Content-Type": document.kind, "Content-Length": str(len(document.body))}
                url = f"{self._url}/manifests/{tag}"
                ask = HttpRequest(url, headers, "PUT", self._wire.scope, lambda: (document.body,))
                check_offset(self._wire.http.fetch_once(ask), document.digest)

        retry.call(_RETRY, push, wait=self._wire.wait)
        if not self._is_tagged(tag, document):
            raise Unavailable(f"{self}:{tag} was pushed and is not there", hint="look at the registry's storage")

    def _is_tagged(self, tag: str, document: ManifestDocument) -> bool:
        try:
            found = self.manifest(tag)
        except NotFound:
            return False
        if found.digest != document.digest:
            raise Conflict(
                f"{self}:{tag} is sha256:{found.digest} already, sha256:{document.digest} was to be",
                hint="somebody else gave this tag away; syncd never moves one",
            )
        return True

    def _began(self, answer: HttpResponse) -> BlobUpload:
        least = answer.headers.get("oci-chunk-min-length", "0")
        if not least.isdecimal() or int(least) > _CHUNK_MIN_MAX:
            raise Invalid(
                f"{self}: chunks of at least {least[:20]!r} bytes are wanted, at most {_CHUNK_MIN_MAX} are sent"
            )
        return BlobUpload(self._wire, self._wire.location(answer), int(least))

    def _look(self, url: str, headers: dict[str, str] | None = None, method: str = "GET") -> HttpResponse:
        return self._wire.http.fetch(HttpRequest(url, headers or {}, method, self._wire.scope))

    def _blob(self, digest: Digest) -> str:
        return f"{self._url}/blobs/sha256:{digest}"

    def _prove(self, body: bytes, digest: Digest, what: str) -> None:
        found = hashlib.sha256(body).hexdigest()
        if found != digest.hex:
            raise Corrupt(f"{self}: the sha256 of {what} is {found}, after {len(body)} bytes")
