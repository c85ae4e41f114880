"""What can be done about the refusal of an image repository: its own codes say more than the status."""

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
    """The registry takes no chunks: a blob has to come whole, in one request."""


class UploadLost(Conflict):
    """The registry no longer has the upload, or not what it said it had of it: the blob has to be begun anew."""


_REMEDIES: Final[Mapping[str, tuple[type[SyncdError], str]]] = {
    "BLOB_UNKNOWN": (NotFound, ""),
    "BLOB_UPLOAD_INVALID": (UploadLost, ""),
    "BLOB_UPLOAD_UNKNOWN": (UploadLost, ""),
    "DENIED": (Refused, "this user may not do that in this repository"),
    "DIGEST_INVALID": (Corrupt, "what arrived there is not what was sent"),
    "MANIFEST_BLOB_UNKNOWN": (Conflict, "a layer is gone from the registry again: was it cleaned meanwhile?"),
    "MANIFEST_INVALID": (Invalid, "the registry does not take images of this kind"),
    "MANIFEST_UNKNOWN": (NotFound, ""),
    "NAME_INVALID": (Invalid, "look at the name of the repository"),
    "NAME_UNKNOWN": (NotFound, "is there a repository of this name?"),
    "SIZE_INVALID": (Corrupt, "what arrived there is not what was sent"),
    "TAG_INVALID": (Invalid, ""),
    "UNAUTHORIZED": (Refused, "look at the user and the password for this registry"),
    "UNSUPPORTED": (Unchunked, ""),
}


def explain(answer: HttpResponse) -> SyncdError | None:
    """See `registry.http.Explain`. The first known code counts; all that it tells is in the message."""
    told = list(_message(answer.body))
    said = "; ".join(f"{code}: {message}" for code, message in told)[:_SHOWN_MAX]
    reason = f"{printable(answer.url)}: answered {answer.status} {said}".rstrip()
    if answer.status == 429:
        return Unavailable(reason, hint="it limits how often it is asked", retry_after_s=retry_after_s(answer.headers))
    for code, _ in told:
        if code in _REMEDIES and answer.status < 500:
            kind, hint = _REMEDIES[code]
            return kind(reason, hint=hint)
    if answer.status in _REFUSES_CHUNKS:
        return Unchunked(reason, hint="is this an image repository?")
    if answer.status == 416:
        return Unavailable(reason)  # an upload stands elsewhere than we think: it is asked
    return None


def _message(body: bytes) -> Iterator[tuple[str, str]]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return
    listed: Any = document.get("errors") if isinstance(document, dict) else None
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, dict):
            yield str(each.get("code", "")), str(each.get("message", ""))
