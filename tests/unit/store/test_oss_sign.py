"""What the signer makes, beside what the SDK's own makes of the same request at the same moment."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import oss2
import oss2.auth
import oss2.http
import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncd.secret import Secret
from syncd.store.oss.requests import Signer
from syncd.store.oss.settings import Credentials

AT = datetime(2026, 2, 28, 23, 59, 58, tzinfo=UTC)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=40)


class Stopped(datetime):
    """The clock of the SDK's signer."""

    @classmethod
    def utcnow(cls) -> Stopped:
        return cls(AT.year, AT.month, AT.day, AT.hour, AT.minute, AT.second)


def request(key: str, params: dict[str, str], headers: dict[str, str]) -> Any:
    url = f"https://weights.oss-cn-hangzhou.aliyuncs.com/{key}"
    return oss2.http.Request("PUT", url, params=params, headers=headers, region="cn-hangzhou", product="oss")


def signed(
    owner: Credentials, bucket: str, key: str, params: dict[str, str], headers: dict[str, str]
) -> dict[str, str]:
    ours = request(key, params, headers)
    Signer(lambda: owner, lambda: AT)._sign_request(ours, bucket, key)
    return {name.lower(): value for name, value in ours.headers.items()}


def signed_by_the_sdk(
    owner: Credentials, bucket: str, key: str, params: dict[str, str], headers: dict[str, str]
) -> dict[str, str]:
    token = owner.token.reveal() if owner.token else ""
    keys = oss2.credentials.StaticCredentialsProvider(owner.key_id, owner.key_secret.reveal(), token)
    theirs = request(key, params, headers)
    oss2.ProviderAuthV4(keys)._sign_request(theirs, bucket, key)
    return {name.lower(): value for name, value in theirs.headers.items()}


@pytest.fixture(autouse=True, scope="module")
def stopped_clock() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oss2.auth, "datetime", Stopped)
        yield


@given(
    bucket=st.sampled_from(["weights", ""]),
    key=TEXTS,
    params=st.dictionaries(TEXTS.filter(bool), TEXTS, max_size=4),
    headers=st.dictionaries(
        st.sampled_from(["Content-Type", "content-md5", "x-oss-forbid-overwrite", "X-Oss-Meta-a", "Range", "date"]),
        st.text(st.characters(codec="ascii", exclude_characters="\r\n"), max_size=20),
    ),
    token=st.sampled_from([None, Secret("a/token+")]),
)
def test_every_request_is_signed_as_the_sdk_signs_it(
    bucket: str, key: str, params: dict[str, str], headers: dict[str, str], token: Secret | None
) -> None:
    owner = Credentials("LTAI5t", Secret("a secret/+"), token)
    key = key if bucket else ""
    assert signed(owner, bucket, key, params, headers) == signed_by_the_sdk(owner, bucket, key, params, headers)


def test_rotated_credentials_count_from_the_next_request_on() -> None:
    owners = [Credentials("first", Secret("one")), Credentials("second", Secret("two"), Secret("token"))]
    signer = Signer(lambda: owners.pop(0), lambda: AT)
    made = [request("key", {}, {}) for _ in range(2)]
    for one in made:
        signer._sign_request(one, "weights", "key")
    first, second = (one.headers for one in made)
    assert "Credential=first/20260228/cn-hangzhou/oss/aliyun_v4_request" in first["authorization"]
    assert "Credential=second/" in second["authorization"]
    assert "x-oss-security-token" not in first
    assert second["x-oss-security-token"] == "token"


def test_a_renewed_secret_signs_the_next_request() -> None:
    held = ["first"]
    owner = Credentials("id", Secret("first", "a file", lambda: held[0]))
    signer = Signer(lambda: owner, lambda: AT)

    def signature() -> str:
        asked = request("k", {}, {})
        signer.sign(asked, "weights", "k")
        return str(asked.headers["authorization"])

    first = signature()
    assert signature() == first
    held[0] = "second"
    assert signature() != first
