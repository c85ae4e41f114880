"""Copy of an image between repositories, by digest: what one of them lacks is taken from others that have it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

import structlog

from syncd.artifact.digest import Digest
from syncd.errors import Cancelled, SyncdError
from syncd.http.responses import list_at, object_at, parse_json, size_at, text_at
from syncd.oci.push import BlobPush, PushRoute
from syncd.oci.repository import ManifestDocument, Repository

_LAYERS_MAX: Final = 1000
_log = structlog.get_logger("syncd.images")


def blobs_of(document: ManifestDocument, what: str) -> Iterator[tuple[Digest, int]]:
    """The configuration and the layers of an image, with their sizes. Raises Corrupt: it is not an image's manifest."""
    found = object_at(parse_json(document.body, what), what)
    below: Sequence[object] = list_at(found.get("layers"), f"the layers of {what}", _LAYERS_MAX)
    for each in (found.get("config"), *below):
        row = object_at(each, f"a blob of {what}")
        yield Digest.parse(text_at(row, "digest", what)), size_at(row, "size", what)


def copy_missing(route: PushRoute, tag: str, digest: Digest, others: Sequence[Repository]) -> tuple[str, ...]:
    """Copy what the repository of `route` lacks of an image, its manifest under `tag` last. Returns what no other has.

    Every blob is hashed as it passes, and the registry verifies it again. A blob that is there is not sent. Where a
    blob is left, no tag is written. Repeating it is harmless.

    Raises:
        Conflict: The tag names another image.
        Corrupt: The repository has a manifest or a blob that does not match its digest.
        Cancelled: A stop was requested.
        Unavailable, Refused: The repository does not answer, or refuses the manifest.
    """
    try:
        document = _manifest(digest, (route.repository, *others))
        if document is None:
            return (f"manifest sha256:{digest}",)
        left = [
            f"blob {blob.short}"
            for blob, size_bytes in blobs_of(document, f"{route.repository}@sha256:{digest}")
            if not route.repository.has_blob(blob, size_bytes) and not _copied(route, blob, size_bytes, others)
        ]
        if not left:
            route.repository.push_manifest(tag, document)
        return tuple(left)
    finally:
        route.repository.close_helpers()


def _manifest(digest: Digest, places: Sequence[Repository]) -> ManifestDocument | None:
    for place in places:
        try:
            return place.manifest(f"sha256:{digest}")
        except SyncdError as error:  # one that does not answer is as good as one that lacks it: the next may have it
            _log.info("image.copy_unread", message="A repository gave no copy of a part of an image.",
                      repository=str(place), what=f"manifest {digest.short}", reason=error.message)  # fmt: skip
    return None


def _copied(route: PushRoute, blob: Digest, size_bytes: int, others: Sequence[Repository]) -> bool:
    for other in others:
        push = BlobPush(route)
        try:
            push.run(blob, size_bytes, partial(other.open, blob, size_bytes), blob)
        except Cancelled:
            raise
        except SyncdError as error:
            _log.info("image.copy_unread", message="A repository gave no copy of a part of an image.",
                      repository=str(other), what=f"blob {blob.short}", reason=error.message)  # fmt: skip
            continue
        _log.info("image.layer_ready", message="A layer is in the repository.", title=f"copy from {other}",
                  how="pushed", bytes=push.bytes_sent, digest=blob.short)  # fmt: skip
        return True
    return False
