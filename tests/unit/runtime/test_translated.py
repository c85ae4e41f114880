"""Mapping of every exception of the SDK. An unmapped class fails here."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

import alibabacloud_tea_openapi
import darabonba.exceptions
import pytest
import requests.exceptions
import Tea.exceptions
from darabonba.exceptions import DaraException, UnretryableException
from requests.exceptions import RequestException
from syncd.errors import Conflict, Failed, KeyRefused, NotFound, OutcomeUnknown, Refused, SyncdError, Unavailable
from syncd.runtime.fc.call import NoChange, translate_errors

# Raised before anything is sent, for what no caller of ours can give, or wrapped by the SDK's client itself.
NEVER_SEEN = {"ValidateException", "RequiredArgumentException", "RetryError", "TeaException"}
WITH_A_STATUS = {"ResponseException", "AlibabaCloudException", "ClientException", "ServerException"}
WITH_A_STATUS |= {"ThrottlingException"}
WITHOUT = {"DaraException", "UnretryableException"}


def classes() -> dict[str, Any]:
    package = f"{alibabacloud_tea_openapi.__name__}."
    names = [m.name for m in pkgutil.walk_packages(alibabacloud_tea_openapi.__path__, package) if "exception" in m.name]
    modules = [darabonba.exceptions, Tea.exceptions, *(importlib.import_module(name) for name in names)]
    found = [found for module in modules for _, found in inspect.getmembers(module, inspect.isclass)]
    return {found.__name__: found for found in found if issubclass(found, BaseException)}


def answered(kind: str, status: int, code: str = "", **more: object) -> Exception:
    made: Exception = classes()[kind](status_code=status, code=code, message="said so", **more)
    return made


def test_every_class_of_the_sdk_is_known() -> None:
    assert set(classes()) == NEVER_SEEN | WITH_A_STATUS | WITHOUT


@pytest.mark.parametrize("kind", sorted(WITH_A_STATUS))
@pytest.mark.parametrize(
    ("status", "code", "meaning"),
    [
        (400, "InvalidArgument", Failed),
        (400, "VersionPublishError", NoChange),
        (401, "SignatureNotMatch", KeyRefused),
        (403, "AccessDenied", Refused),
        (404, "FunctionNotFound", NotFound),
        (409, "AliasAlreadyExists", Conflict),
        (409, "ConcurrentUpdateError", Unavailable),
        (412, "PreconditionFailed", Failed),
        (429, "ResourceThrottled", Unavailable),
        (429, "ResourceExhausted", Unavailable),
        (400, "Throttling.User", Unavailable),
        (503, "ServiceUnavailable", Unavailable),
        (500, "InternalServerError", OutcomeUnknown),
        (502, "", OutcomeUnknown),
    ],
)
def test_status_and_code_determine_the_error(kind: str, status: int, code: str, meaning: type[SyncdError]) -> None:
    error = translate_errors(answered(kind, status, code), "UpdateAlias f:prod")
    assert type(error) is meaning
    assert error.message == f"UpdateAlias f:prod: {status} {code}: said so"


def test_permissions_have_a_hint() -> None:
    assert "fc:*" in translate_errors(answered("ClientException", 403, "AccessDenied"), "x").hint


def test_the_servers_delay_is_in_seconds() -> None:
    error = translate_errors(answered("ThrottlingException", 429, "Throttling", retry_after=2500), "x")
    assert isinstance(error, Unavailable)
    assert error.retry_after_s == 2.5
    error = translate_errors(answered("ThrottlingException", 429, "Throttling"), "x")
    assert isinstance(error, Unavailable)
    assert error.retry_after_s is None


class _Context:
    http_request = None
    exception = ConnectionResetError("gone")


WITHOUT_A_STATUS: list[Exception] = [
    UnretryableException(_Context()),
    DaraException({"message": "odd", "code": "Odd"}),
    ValueError("not JSON"),
    AttributeError("'NoneType' object has no attribute 'get'"),
    TypeError("string indices"),
    *(
        found("lost")
        for _, found in inspect.getmembers(requests.exceptions, inspect.isclass)
        if issubclass(found, RequestException) and found.__name__ != "JSONDecodeError"
    ),
    requests.exceptions.JSONDecodeError("not JSON", "<html>", 0),
]


@pytest.mark.parametrize("lost", WITHOUT_A_STATUS, ids=lambda error: type(error).__name__)
def test_an_answer_that_is_none_leaves_the_outcome_open(lost: Exception) -> None:
    error = translate_errors(lost, "PublishFunctionVersion f")
    assert type(error) is OutcomeUnknown
    assert error.message.startswith("PublishFunctionVersion f: no usable answer: ")
