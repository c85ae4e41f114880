"""Every error code of the protocol is mapped, and the registry's text is in the message."""

from __future__ import annotations

import json

import pytest
from syncd.errors import Conflict, Corrupt, Invalid, NotFound, Refused, SyncdError, Unavailable
from syncd.http.bodies import PackedBody
from syncd.http.client import HttpResponse
from syncd.oci.errors import Unchunked, UploadLost, explain

URL = "https://registry.local/v2/team/sdxl/blobs/uploads/1?_state=secret"


def answer(status: int, *codes: str, **headers: str) -> HttpResponse:
    errors = [{"code": code, "message": f"about {code.lower()}", "detail": None} for code in codes]
    return HttpResponse(URL, status, {name.replace("_", "-"): value for name, value in headers.items()},
                  PackedBody.of(json.dumps({"errors": errors}).encode()))  # fmt: skip


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "BLOB_UNKNOWN", NotFound),
        (404, "BLOB_UPLOAD_INVALID", UploadLost),
        (404, "BLOB_UPLOAD_UNKNOWN", UploadLost),
        (403, "DENIED", Refused),
        (400, "DIGEST_INVALID", Corrupt),
        (404, "MANIFEST_BLOB_UNKNOWN", Conflict),
        (400, "MANIFEST_INVALID", Invalid),
        (404, "MANIFEST_UNKNOWN", NotFound),
        (400, "NAME_INVALID", Invalid),
        (404, "NAME_UNKNOWN", NotFound),
        (400, "SIZE_INVALID", Corrupt),
        (400, "TAG_INVALID", Invalid),
        (401, "UNAUTHORIZED", Refused),
        (405, "UNSUPPORTED", Unchunked),
        (429, "TOOMANYREQUESTS", Unavailable),
    ],
)
def test_a_registrys_error_code_determines_the_error(status: int, code: str, kind: type[SyncdError]) -> None:
    error = explain(answer(status, code))
    assert type(error) is kind
    assert f"status {status} {code}: about {code.lower()}" in error.message
    assert "secret" not in error.message


@pytest.mark.parametrize(("status", "kind"), [(405, Unchunked), (411, Unchunked), (415, Unchunked), (501, Unchunked),
                                              (416, Unavailable)])  # fmt: skip
def test_a_refusal_without_a_code_is_known_by_its_status(status: int, kind: type[SyncdError]) -> None:
    assert type(explain(HttpResponse(URL, status, {}, PackedBody.of(b"")))) is kind


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"errors": 1}', b'{"errors": [1]}', b"[" * 100_000])
def test_without_a_list_of_errors_the_status_counts(body: bytes) -> None:
    assert explain(HttpResponse(URL, 404, {}, PackedBody.of(body))) is None


def test_the_servers_own_trouble_is_never_a_code_of_ours() -> None:
    assert explain(answer(500, "DIGEST_INVALID")) is None


def test_a_rate_limit_has_its_delay() -> None:
    error = explain(answer(429, "TOOMANYREQUESTS", retry_after="7"))
    assert isinstance(error, Unavailable)
    assert error.retry_after_s == 7
