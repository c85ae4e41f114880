"""Mapping from an image repository's refusals to syncd's errors: its codes are more precise than the status."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from syncd.errors import Conflict, Corrupt, Failed, Invalid, NotFound, Refused, SyncdError, Unavailable
from syncd.http.client import HttpResponse
from syncd.http.responses import printable, retry_after_s

_SHOWN_MAX: Final = 200
_REFUSES_CHUNKS: Final = frozenset({405, 411, 415, 501})


class Unchunked(Failed):
    """The registry accepts no chunks: a blob must be sent whole, in one request."""


class UploadLost(Conflict):
    """The registry lost the upload, or a part that it had confirmed: the blob must be sent again."""


_REMEDIES: Final[Mapping[str, tuple[type[SyncdError], str]]] = {
    "BLOB_UNKNOWN": (NotFound, ""),
    "BLOB_UPLOAD_INVALID": (UploadLost, ""),
    "BLOB_UPLOAD_UNKNOWN": (UploadLost, ""),
    "DENIED": (Refused, "this user may not do that in this repository"),
    "DIGEST_INVALID": (Corrupt, "the registry received other bytes than were sent"),
    "MANIFEST_BLOB_UNKNOWN": (Conflict, "a layer is gone from the registry again: was it cleaned meanwhile?"),
    "MANIFEST_INVALID": (Invalid, "the registry does not accept images of this kind"),
    "MANIFEST_UNKNOWN": (NotFound, ""),
    "NAME_INVALID": (Invalid, "check the name of the repository"),
    "NAME_UNKNOWN": (NotFound, "does a repository of this name exist?"),
    "SIZE_INVALID": (Corrupt, "the registry received other bytes than were sent"),
    "TAG_INVALID": (Invalid, ""),
    "UNAUTHORIZED": (Refused, "check the user and the password for this registry"),
    "UNSUPPORTED": (Unchunked, ""),
}


def explain(response: HttpResponse) -> SyncdError | None:
    """See `http.client.Explain`. The first known code counts; the message has all of them."""
    errors = list(_errors(response.body))
    said = "; ".join(f"{code}: {message}" for code, message in errors)[:_SHOWN_MAX]
    reason = f"{printable(response.url)}: status {response.status} {said}".rstrip()
    if response.status == 429:
        return Unavailable(reason, hint="it limits the request rate", retry_after_s=retry_after_s(response.headers))
    for code, _ in errors:
        if code in _REMEDIES and response.status < 500:
            kind, hint = _REMEDIES[code]
            return kind(reason, hint=hint)
    if response.status in _REFUSES_CHUNKS:
        return Unchunked(reason, hint="is this an image repository?")
    if response.status == 416:
        return Unavailable(reason)  # the upload's offset differs from ours: it is queried before the next try
    return None


def _errors(body: bytes) -> Iterator[tuple[str, str]]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return
    listed: Any = document.get("errors") if isinstance(document, dict) else None
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, dict):
            yield str(each.get("code", "")), str(each.get("message", ""))
