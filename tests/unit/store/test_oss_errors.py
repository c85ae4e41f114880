"""What OSS and oss2 say is translated by one table, and none of oss2's exceptions is forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import oss2.exceptions
import pytest
from syncd.errors import (
    RETRY_AFTER_MAX_S,
    Conflict,
    Corrupt,
    Failed,
    Invalid,
    KeyRefused,
    NotFound,
    Refused,
    SyncdError,
    Unavailable,
)
from syncd.store.oss.dial import ConnectionBroken
from syncd.store.oss.errors import ErrorResponse, translate
from syncd.store.oss.requests import translate_errors
from syncd.store.oss.sdk import _error_body

ABSENT = {"NoSuchKey", "NoSuchUpload"}


def subclasses(kind: Any) -> Iterator[Any]:
    """The class and all below it that are oss2's own; other clients of its makers add theirs when imported."""
    yield kind
    for sub in kind.__subclasses__():
        if sub.__module__.startswith("oss2."):
            yield from subclasses(sub)


def instance(kind: Any) -> Exception:
    """One of each exception of oss2, made as oss2 makes it."""
    headers = {"x-oss-request-id": "ID1", "x-oss-next-append-position": "1"}
    status, code = getattr(kind, "status", 500), getattr(kind, "code", "")
    made = {
        "ClientError": lambda: kind("why"),
        "RequestError": lambda: kind(ConnectionError("refused")),
        "InconsistentError": lambda: kind("crc", "ID1"),
        "OpenApiFormatError": lambda: kind("why"),
        "OpenApiServerError": lambda: kind(500, "ID1", "why", "InternalError"),
        "SelectOperationClientError": lambda: kind("why", "ID1"),
    }
    if kind.__name__ in made:
        error = made[kind.__name__]()
    elif kind.__name__ == "SelectOperationFailed":
        error = kind(400, "InvalidSqlParameter", "why")
        error.headers = {}  # oss2 forgets to set them
    else:
        error = kind(status, headers, b"<Error/>", {"Code": code, "Message": "why"})
    assert isinstance(error, Exception)
    return error


@pytest.mark.parametrize("kind", list(subclasses(oss2.exceptions.OssError)), ids=lambda kind: kind.__name__)
def test_every_exception_of_oss2_becomes_one_of_ours(kind: type) -> None:
    original = instance(kind)
    with pytest.raises(SyncdError, match=r"^oss://b/k: ") as caught, translate_errors("oss://b/k"):
        raise _error_body(original) from original
    assert caught.value.__cause__ is not None
    assert caught.value.__cause__.__cause__ is original
    assert isinstance(caught.value, NotFound) == (getattr(original, "code", "") in ABSENT)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "NoSuchKey", NotFound),
        (404, "NoSuchUpload", NotFound),
        (404, "NoSuchBucket", Invalid),
        (404, "", Unavailable),
        (409, "FileAlreadyExists", Conflict),
        (412, "PreconditionFailed", Conflict),
        (304, "", Conflict),
        (403, "AccessDenied", Refused),
        (403, "InvalidAccessKeyId", KeyRefused),
        (403, "SignatureDoesNotMatch", KeyRefused),
        (403, "RequestTimeTooSkewed", Refused),
        (403, "SecurityTokenExpired", KeyRefused),
        (403, "InvalidObjectState", Refused),
        (403, "", Refused),
        (400, "InvalidPart", Corrupt),
        (400, "InvalidDigest", Corrupt),
        (400, "EntityTooSmall", Invalid),
        (400, "RequestTimeout", Unavailable),
        (400, "SomethingNew", Invalid),
        (429, "", Unavailable),
        (500, "InternalError", Unavailable),
        (502, "", Unavailable),
        (503, "SlowDown", Unavailable),
        (507, "", Unavailable),
        (418, "", Failed),
        (-1, "", Invalid),
        (-2, "", Unavailable),
        (-3, "", Corrupt),
    ],
)
def test_each_answer_means_one_thing(status: int, code: str, kind: type[SyncdError]) -> None:
    error = translate(ErrorResponse(status, code, "why", {"x-oss-request-id": "ID1"}), "oss://b/k")
    assert type(error) is kind
    assert str(error).startswith("oss://b/k: ")
    assert "ID1" in str(error)
    assert code in str(error)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionBroken("the answer breaks off 5 bytes before its end"),
        ConnectionResetError("reset"),
        TimeoutError("slow"),
        RuntimeError("parse xml: IsTruncated missing"),
        ValueError("invalid literal for int()"),
        KeyError("content-length"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_breaks_while_a_body_is_read_is_unavailable(error: Exception) -> None:
    with pytest.raises(Unavailable, match="oss://b/k") as caught, translate_errors("oss://b/k"):
        raise error
    assert caught.value.__cause__ is error


def test_our_own_errors_pass() -> None:
    with pytest.raises(Refused, match="no keys yet"), translate_errors("oss://b/k"):
        raise Refused("no keys yet")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"x-oss-qos-delay-time": "1500"}, 1.5),
        ({"retry-after": "9" * 5000}, RETRY_AFTER_MAX_S),
        ({"x-oss-qos-delay-time": "9" * 5000}, RETRY_AFTER_MAX_S),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
    ],
)
def test_the_servers_own_delay_is_passed_on(headers: dict[str, str], seconds: float | None) -> None:
    error = translate(ErrorResponse(503, "SlowDown", "", headers), "oss://b/k")
    assert isinstance(error, Unavailable)
    assert error.retry_after_s == seconds


def test_a_long_message_is_cut() -> None:
    assert len(str(translate(ErrorResponse(500, "InternalError", "x" * 10_000, {}), "oss://b/k"))) < 500
