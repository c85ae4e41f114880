"""Substitutes for a file: a pointer of git LFS or Xet, or a saved error page."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from syncd.errors import Corrupt
from syncd.formats.contents import damaged

POINTER_BYTES_MIN, POINTER_BYTES_MAX = 90, 1024  # a digest of 64 characters, and what says so
PAGE_HEAD_BYTES: Final = 1024
PAGE_BYTES_MAX: Final = 64 << 10  # of an error that is JSON
_POINTERS: Final = (
    (
        re.compile(rb"version https://(git-lfs|hawser)\.github\.com/spec/"),
        "git LFS",
        "bring what `git lfs pull` brings",
    ),
    (re.compile(rb"# xet version \S+\s+(filesize|hash) = "), "Xet", "bring what `git xet checkout` brings"),
)
_HTML: Final = re.compile(rb"<!doctype\s+html|<html[\s>]|<head[\s>]|<body[\s>]", re.IGNORECASE)
_XML: Final = re.compile(rb"<\?xml\s|<error[\s>]", re.IGNORECASE)
_BEFORE: Final = re.compile(rb"(\xef\xbb\xbf)?(\s|<!--.*?-->)*", re.DOTALL)
# What an error that is JSON says, in lower case, and nothing else: what went wrong; or a text, with a failing status or
# in the words of an error.
_ERRORS: Final = frozenset({"error", "errors", "error_code", "errorcode", "errormessage", "error_description"})
_TEXTS: Final = frozenset({"message", "detail", "details", "msg", "title", "reason"})
_STATUSES: Final = frozenset({"code", "status", "statuscode", "status_code", "success"})
_BESIDE: Final = frozenset(
    {"request_id", "requestid", "hostid", "data", "timestamp", "path", "type", "trace_id", "documentation_url"}
    | {"errortype", "url", "instance", "id"}
)
_FAILING: Final = 400  # the least HTTP status of a failure
_PHRASE: Final = re.compile(
    r"not found|unauthori[sz]ed|forbidden|denied|expired|no such|log ?in|rate limit|too many|time.?out|gated|"
    r"restricted|internal server|bad gateway|unavailable",
    re.IGNORECASE,
)


def may_be_pointer(size_bytes: int) -> bool:
    """Whether a file of whatever name is as small as a pointer."""
    return POINTER_BYTES_MIN <= size_bytes <= POINTER_BYTES_MAX


def check_no_pointer(path: str, head: bytes) -> None:
    """Raises Corrupt: `head`, the first bytes of a file of `POINTER_BYTES_MAX` or less, is a pointer."""
    for pattern, kind, advice in _POINTERS:
        if pattern.match(head):
            raise damaged(path, f"is a pointer of {kind}, not the file", advice)


def check_no_page(path: str, head: bytes) -> None:
    """Raises Corrupt: `head`, the first bytes of a file, is the beginning of a page of HTML or XML."""
    start = _BEFORE.match(head)
    at = start.end() if start else 0
    for pattern, kind in ((_HTML, "an HTML page"), (_XML, "an XML document")):
        if pattern.match(head, at):
            raise _page(path, kind)


def may_be_error(head: bytes, size_bytes: int) -> bool:
    """Whether a file may be an error that is JSON, from its first bytes and its size."""
    return size_bytes <= PAGE_BYTES_MAX and head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


def check_no_error(path: str, data: bytes) -> None:
    """Raises Corrupt: `data`, a whole file, is an error that a server answered as JSON."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(document, dict) and _is_error(document):
        raise _page(path, f"an error that is JSON ({json.dumps(document, ensure_ascii=False)[:120]})")


def _is_error(document: dict[str, Any]) -> bool:
    found = {key.lower(): value for key, value in document.items()}
    if not found.keys() <= _ERRORS | _TEXTS | _STATUSES | _BESIDE:
        return False
    if any(found.get(key) and isinstance(found[key], str | dict | list) for key in _ERRORS):
        return True
    texts = [found[key] for key in _TEXTS if isinstance(found.get(key), str)]
    has_failed = any(_fails(found[key]) for key in _STATUSES & found.keys())
    return bool(texts) and (has_failed or any(_PHRASE.search(text) for text in texts))


def _fails(status: object) -> bool:
    if isinstance(status, str):
        status = (
            int(status) if status.isdecimal() and len(status) < 20 else status.lower() in {"error", "fail", "failed"}
        )
        return status is True or (status is not False and status >= _FAILING)
    return status is False or (type(status) is int and status >= _FAILING)


def _page(path: str, kind: str) -> Corrupt:
    return damaged(
        path, f"is {kind}, not the file", "a download was answered with an error or a login, and that was saved"
    )
