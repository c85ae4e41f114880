"""Signatures that cosign attached to a manifest: at the tag `sha256-….sig`, and as referrers of the manifest.

Source: github.com/sigstore/cosign, specs/SIGNATURE_SPEC.md (cosign 2) and specs/BUNDLE_SPEC.md (cosign 3, referrers
that are Sigstore bundles); OCI distribution specification 1.1, listing referrers, and the tag `sha256-…` where a
registry has no such API.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from syncd.errors import Corrupt, Failed, NotFound
from syncd.http.client import HttpClient, HttpRequest
from syncd.http.responses import list_at, object_at, parse_json, text_at
from syncd.registry.base import AttachedSignature
from syncd.registry.oci.layers import DIGEST

_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_INDEX: Final = "application/vnd.oci.image.index.v1+json"
_ARTIFACT: Final = "application/vnd.dev.cosign.artifact.sig.v1+json"
_BUNDLE: Final = "application/vnd.dev.sigstore.bundle"
_EMPTY: Final = "application/vnd.oci.empty.v1+json"  # cosign 3 writes it into the index at the tag, for its bundles
_PAYLOAD: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
_SIGNATURE: Final = "dev.cosignproject.cosign/signature"
_JSON_BYTES_MAX: Final = 4 << 20
_PAYLOAD_BYTES_MAX: Final = 1 << 20
_SIGNATURES_MAX: Final = 64  # of one manifest, and referrers that are signatures
_REFERRERS_MAX: Final = 10_000


class AttachedSignatures:
    """What is attached to the manifests of one repository. `scope` is for the authentication."""

    def __init__(self, http: HttpClient, repository: str, scope: str) -> None:
        self._http = http
        self._repository = repository
        self._scope = scope

    def of(self, pin: str) -> Iterator[AttachedSignature]:
        """The signatures of the manifest with this digest, fetched one by one as they are asked for.

        Raises:
            As `registry.base.SignedRegistry.attached`.
        """
        tag = pin.replace(":", "-")
        yield from self._signatures(self._fetch(f"manifests/{tag}.sig"), f"{tag}.sig")
        for digest in self._referrers(pin, tag):
            yield from self._signatures(self._fetch(f"manifests/{digest}", digest), digest)

    def _referrers(self, pin: str, tag: str) -> list[str]:
        """The digests of the referrers that are signatures of cosign."""
        try:
            index = self._fetch(f"referrers/{pin}")
        except Failed:  # 400 or 405: a registry before version 1.1 of the specification
            index = {}
        index = index or self._fetch(f"manifests/{tag}")
        what = f"the referrers of {pin}"
        rows = [
            object_at(each, what)
            for each in list_at(index.get("manifests") or [], what, _REFERRERS_MAX, "delete old ones")
        ]
        signed = [text_at(row, "digest", what) for row in rows if _may_be_signature(row.get("artifactType"))]
        found = [digest for digest in dict.fromkeys(signed) if DIGEST.fullmatch(digest)]
        return list_at(found, f"the signatures of {pin}", _SIGNATURES_MAX, "delete old ones")

    def _signatures(self, manifest: Mapping[str, Any], what: str) -> Iterator[AttachedSignature]:
        layers = list_at(manifest.get("layers") or [], f"the layers of {what}", _SIGNATURES_MAX, "delete old ones")
        for each in layers:
            layer = object_at(each, f"a layer of {what}")
            notes = object_at(layer.get("annotations") or {}, f"the annotations of a layer of {what}")
            digest = layer.get("digest")
            kind = str(layer.get("mediaType"))
            is_bundle = kind.startswith(_BUNDLE)
            if (is_bundle or kind == _PAYLOAD) and isinstance(digest, str) and DIGEST.fullmatch(digest):
                payload = self._bytes(f"blobs/{digest}", digest, _PAYLOAD_BYTES_MAX)
                yield AttachedSignature(what, payload, text_at(notes, _SIGNATURE, f"a layer of {what}", ""), is_bundle)

    def _fetch(self, path: str, digest: str = "") -> Mapping[str, Any]:
        """A manifest or an index; empty if there is none."""
        try:
            body = self._bytes(path, digest, _JSON_BYTES_MAX)
        except NotFound:
            return {}
        return object_at(parse_json(body, path), path)

    def _bytes(self, path: str, digest: str, bytes_max: int) -> bytes:
        """What is there, of this digest if it has one."""
        headers = {} if path.startswith("blobs/") else {"Accept": f"{_MANIFEST}, {_INDEX}"}
        request = HttpRequest(f"{self._repository}/{path}", headers, scope=self._scope, bytes_max=bytes_max)
        body = self._http.fetch(request).body
        if digest and f"sha256:{hashlib.sha256(body).hexdigest()}" != digest:
            raise Corrupt(f"expected the bytes of {digest}, got sha256 {hashlib.sha256(body).hexdigest()}")
        return body


def _may_be_signature(kind: object) -> bool:
    return kind in {_ARTIFACT, _EMPTY} or str(kind).startswith(_BUNDLE)
