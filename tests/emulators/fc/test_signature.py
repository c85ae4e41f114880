"""Signature checks: keys, tokens, clocks and bodies, through the vendor's client and raw requests."""

import hashlib
import http.client
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
from alibabacloud_fc20230330 import models
from alibabacloud_fc20230330.client import Client
from syncd.localcloud.account import Account, AccountKey
from syncd.localcloud.fc.api.acs3 import ALGORITHM, SignedCall, signature, verify
from syncd.localcloud.fc.errors import FcError

from tests.emulators.fc.calls import KEY, SECRET, Cloud, create, get, refused

NOW_S = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
KEYS = Account("1", (AccountKey(KEY, SECRET), AccountKey("old", "s", "token", expires_at_s=NOW_S - 1)))


def signed_headers(body: bytes = b"", **changes: str) -> dict[str, str]:
    headers = {
        "host": "fc.local",
        "x-acs-content-sha256": hashlib.sha256(body).hexdigest(),
        "x-acs-date": "2026-01-02T03:04:05Z",
        "x-acs-signature-nonce": "n-1",
    }
    return headers | {name.replace("_", "-"): value for name, value in changes.items()}


def authorized(headers: dict[str, str], call_of: SignedCall, secret: str = SECRET) -> dict[str, str]:
    names = sorted(headers)
    value = f"{ALGORITHM} Credential={KEY},SignedHeaders={';'.join(names)},Signature="
    return {**headers, "authorization": value + signature(call_of, names, secret)}


def call_with(headers: dict[str, str], body: bytes = b"", path: str = "/x") -> SignedCall:
    return SignedCall("GET", path, (("b", "1 2"), ("a", "~")), lambda name: headers.get(name, ""), body)


def code_of(headers: dict[str, str], body: bytes = b"", path: str = "/x") -> str:
    with pytest.raises(FcError) as caught:
        verify(call_with(headers, body, path), KEYS, NOW_S)
    return caught.value.code


def test_the_vendors_client_is_let_in(client: Client) -> None:
    assert create(client).function_name == "show"


def test_a_query_with_spaces_and_signs_is_verified_as_it_was_signed(client: Client) -> None:
    request = models.ListFunctionsRequest(prefix="a b+c~/é&=%", limit=3)
    assert client.list_functions(request).body.functions == []


def test_an_unknown_key_is_refused(cloud: Cloud) -> None:
    status, code, _ = refused(lambda: get(cloud.client(key="nobody")))
    assert (status, code) == (403, "InvalidAccessKeyID")


def test_a_wrong_secret_is_refused(cloud: Cloud) -> None:
    status, code, _ = refused(lambda: create(cloud.client(secret="wrong")))
    assert (status, code) == (403, "SignatureNotMatch")


def test_a_temporary_key_needs_its_token(cloud: Cloud) -> None:
    create(cloud.client("STS.key", "sts-secret", token="sts-token"))
    for token in ("another", None):
        wrong = cloud.client("STS.key", "sts-secret", token=token)
        assert refused(lambda: get(wrong))[:2] == (403, "InvalidSecurityToken")  # noqa: B023 - called at once


@pytest.mark.parametrize("offset_s", [-1000.0, 1000.0])
def test_a_clock_off_by_more_than_a_quarter_of_an_hour_is_refused(cloud: Cloud, offset_s: float) -> None:
    cloud.clock_offset_s[0] = offset_s
    status, code, message = refused(lambda: get(cloud.client()))
    assert (status, code) == (403, "AccessDenied")
    assert "is too large" in message


def test_a_clock_off_by_a_little_is_let_in(cloud: Cloud) -> None:
    cloud.clock_offset_s[0] = 800
    create(cloud.client())


def test_a_missing_function_is_named_only_to_who_may_ask(cloud: Cloud) -> None:
    status, code, message = refused(lambda: get(cloud.client(), "ghost"))
    assert (status, code) == (404, "FunctionNotFound")
    assert "'ghost' does not exist" in message


def test_a_request_without_authorization_is_refused(cloud: Cloud) -> None:
    connection = http.client.HTTPConnection(cloud.endpoint, timeout=5)
    connection.request("GET", "/2023-03-30/functions?" + urlencode({"limit": 3}))
    answer = connection.getresponse()
    assert answer.status == 400
    assert b"MissingRequiredHeader" in answer.read()
    connection.close()


def test_a_good_signature_names_its_key() -> None:
    headers = signed_headers()
    assert verify(call_with(authorized(headers, call_with(headers))), KEYS, NOW_S) == KEY


def test_a_body_other_than_the_one_signed_is_refused() -> None:
    headers = signed_headers(b"one")
    assert code_of(authorized(headers, call_with(headers)), b"two") == "SignatureNotMatch"


def test_a_path_other_than_the_one_signed_is_refused() -> None:
    headers = signed_headers()
    assert code_of(authorized(headers, call_with(headers)), path="/y") == "SignatureNotMatch"


def test_a_signed_header_that_was_changed_is_refused() -> None:
    headers = signed_headers(x_fc_invocation_type="Sync")
    given = authorized(headers, call_with(headers)) | {"x-fc-invocation-type": "Async"}
    assert code_of(given) == "SignatureNotMatch"


@pytest.mark.parametrize("name", ["host", "x-acs-date", "x-acs-content-sha256", "x-acs-signature-nonce"])
def test_what_must_be_signed_can_not_be_left_out(name: str) -> None:
    headers = signed_headers()
    del headers[name]
    assert code_of(authorized(headers, call_with(headers))) == "MissingRequiredHeader"


def test_an_invalid_date_is_refused() -> None:
    headers = signed_headers(x_acs_date="yesterday")
    assert code_of(authorized(headers, call_with(headers))) == "InvalidArgument"


def test_a_token_past_its_end_is_refused() -> None:
    headers = signed_headers(x_acs_security_token="token")
    given = authorized(headers, call_with(headers), "s")
    given["authorization"] = given["authorization"].replace(KEY, "old")
    assert code_of(given) == "SecurityTokenExpired"
