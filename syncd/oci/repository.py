"""Image repository client: reads and pushes blobs and manifests, addressed by digest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from syncd import retry
from syncd.artifact.digest import Digest
from syncd.errors import Conflict, Corrupt, Invalid, NotFound, Unavailable
from syncd.http.client import Body, HttpClient, HttpRequest, HttpResponse
from syncd.http.download import ExpectedFile
from syncd.oci.uploads import OCTETS, BlobUpload, RepositoryHttp, check_digest, with_digest
from syncd.values.source import Stream

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
_ACCEPT: Final = {"Accept": f"{OCI_MANIFEST}, {OCI_INDEX}, {DOCKER_MANIFEST}, {DOCKER_LIST}"}
_RETRY: Final = retry.Retry(attempts_max=4, elapsed_max_s=60.0)
_LEAST: Final = re.compile(r"[0-9]{1,18}")
_CHUNK_MIN_MAX: Final = 256 << 20  # the largest minimum chunk of a registry that is accepted: it is held in memory


@dataclass(frozen=True, slots=True)
class ManifestDocument:
    """A manifest or an index as stored; `digest` is that of `body`."""

    kind: str
    body: bytes
    digest: Digest


class Repository:
    """One image repository. Safe from several threads."""

    def __init__(
        self,
        origin: str,
        name: str,
        http: HttpClient,
        *,
        writes: bool = False,
        wait: Callable[[float], bool] = retry.sleep,
    ) -> None:
        """`http` has an `OciAuth`; with `writes` permission to push is requested."""
        self.name: Final = name
        self.origin: Final = origin
        self._url = f"{origin}/v2/{name}"
        self._wire = RepositoryHttp(http, f"repository:{name}:{'pull,push' if writes else 'pull'}", wait)

    def __str__(self) -> str:
        return f"{self.origin.partition('://')[2]}/{self.name}"

    def close_helpers(self) -> None:
        """Stop idle upload helpers. Repeating it is success."""
        self._wire.http.close_helpers()

    def has_blob(self, digest: Digest, size_bytes: int) -> bool:
        """Whether the registry has the blob.

        Raises:
            Corrupt: The blob of this digest has another size.
            Unavailable, Refused: The registry does not answer.
        """
        try:
            response = self._fetch(self._blob(digest), method="HEAD")
        except NotFound:
            return False
        length = response.headers.get("content-length", str(size_bytes))
        if length != str(size_bytes):
            raise Corrupt(f"{self}: expected {size_bytes} bytes of blob {digest}, got {length[:20]}")
        return True

    def mount(self, digest: Digest, source: str) -> BlobUpload | None:
        """Request the registry to take a blob from another of its repositories.

        None: it did. Otherwise it began an upload, and the bytes must be sent.
        """
        url = f"{self._url}/blobs/uploads/?mount=sha256:{digest}&from={source}"
        scope = f"{self._wire.scope} repository:{source}:pull"
        response = self._wire.http.fetch(HttpRequest(url, {"Content-Length": "0"}, "POST", scope))
        if response.status == 201:
            check_digest(response, digest)
            return None
        return self._began(response)

    def begin(self) -> BlobUpload:
        """Begin an empty upload. The registry deletes abandoned ones by itself."""
        return self._began(self._fetch(f"{self._url}/blobs/uploads/", {"Content-Length": "0"}, "POST"))

    def resume(self, location: str) -> BlobUpload:
        """Resume an upload. Raises UploadLost: the registry no longer knows it."""
        upload = BlobUpload(self._wire, location)
        upload.refresh()
        return upload

    def push_whole(self, digest: Digest, size_bytes: int, body: Body) -> None:
        """Push a blob in one request, for a registry without chunks. `body` is called for its pieces at each try."""
        headers = {"Content-Type": OCTETS, "Content-Length": str(size_bytes)}

        def push() -> None:
            place = with_digest(self.begin().location, digest)
            check_digest(self._wire.http.fetch_once(HttpRequest(place, headers, "PUT", self._wire.scope, body)), digest)

        retry.call(_RETRY, push, wait=self._wire.wait)

    def open(self, digest: Digest, size_bytes: int, offset_bytes: int = 0) -> Stream:
        """The bytes of a blob, which the caller verifies. Raises NotFound; Unavailable where it breaks off."""
        request = HttpRequest(self._blob(digest), scope=self._wire.scope)
        return self._wire.http.open(request, ExpectedFile(f"blob {digest.short}", size_bytes), offset_bytes)

    def read(self, digest: Digest) -> bytes:
        """A small blob, such as a configuration, verified.

        Raises:
            Corrupt: It does not match its digest.
            NotFound, Unavailable, Refused: From the registry.
        """
        body = self._fetch(self._blob(digest)).body
        self._verify(body, digest, f"blob {digest}")
        return body

    def manifest(self, reference: str) -> ManifestDocument:
        """A manifest or an index by tag or digest (`sha256:…`), verified against the digest.

        Raises:
            Corrupt: It does not match the requested digest, or the registry's.
            NotFound, Unavailable, Refused: From the registry.
        """
        response = self._fetch(f"{self._url}/manifests/{reference}", _ACCEPT)
        digest = Digest(hashlib.sha256(response.body).hexdigest())
        if reference.startswith("sha256:"):
            self._verify(response.body, Digest.parse(reference), f"manifest {reference}")
        check_digest(response, digest)
        kind = response.headers.get("content-type", "").partition(";")[0].strip()
        return ManifestDocument(kind, response.body, digest)

    def push_manifest(self, tag: str, document: ManifestDocument) -> None:
        """Make an image visible. The last write of a build; repeating it is success.

        Raises:
            Conflict: The tag names another image, or a layer is gone again. A tag is never moved.
            Invalid: The registry does not accept such images.
        """

        def push() -> None:
            if not self._is_tagged(tag, document):
                headers = {"Content-Type": document.kind, "Content-Length": str(len(document.body))}
                url = f"{self._url}/manifests/{tag}"
                request = HttpRequest(url, headers, "PUT", self._wire.scope, lambda: (document.body,))
                check_digest(self._wire.http.fetch_once(request), document.digest)

        retry.call(_RETRY, push, wait=self._wire.wait)
        if not self._is_tagged(tag, document):
            raise Unavailable(f"{self}:{tag} was pushed and does not exist", hint="check the registry's storage")

    def _is_tagged(self, tag: str, document: ManifestDocument) -> bool:
        try:
            found = self.manifest(tag)
        except NotFound:
            return False
        if found.digest != document.digest:
            raise Conflict(
                f"{self}:{tag}: expected sha256:{document.digest}, got sha256:{found.digest}",
                hint="another tool used this tag; syncd never moves one",
            )
        return True

    def _began(self, response: HttpResponse) -> BlobUpload:
        least = response.headers.get("oci-chunk-min-length", "0")
        if not _LEAST.fullmatch(least) or int(least) > _CHUNK_MIN_MAX:
            raise Invalid(
                f"{self}: the registry requires chunks of at least {least[:20]!r} bytes, over {_CHUNK_MIN_MAX}"
            )
        return BlobUpload(self._wire, self._wire.location(response), int(least))

    def _fetch(self, url: str, headers: dict[str, str] | None = None, method: str = "GET") -> HttpResponse:
        return self._wire.http.fetch(HttpRequest(url, headers or {}, method, self._wire.scope))

    def _blob(self, digest: Digest) -> str:
        return f"{self._url}/blobs/sha256:{digest}"

    def _verify(self, body: bytes, digest: Digest, what: str) -> None:
        found = hashlib.sha256(body).hexdigest()
        if found != digest.hex:
            raise Corrupt(f"{self}: expected sha256 {digest} of {what}, got {found}, after {len(body)} bytes")
