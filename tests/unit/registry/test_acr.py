"""Temporary passwords of Container Registry: requested with the unmodified SDK, kept until they expire."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from syncd.errors import Refused, SyncdError, Unavailable
from syncd.http.client import HttpClient, HttpRequest, HttpSettings
from syncd.registry.oci.acr import AcrLogin
from syncd.registry.oci.auth import OciAuth
from syncd.registry.settings import AccessKey, AcrSettings
from syncd.secret import Secret

from tests.emulators.acr import INSTANCE, KEY_ID, KEY_SECRET, Acr, refused
from tests.emulators.distribution import PASSWORD, USER, distribution
from tests.emulators.web import Reply

NOW_S = 1_800_000_000.0


@pytest.fixture
def acr() -> Iterator[Acr]:
    made = Acr(expires_at_s=NOW_S + 3600)
    with made.web:
        yield made


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


def settings(acr: Acr) -> AcrSettings:
    return AcrSettings(INSTANCE, "cn-shanghai", acr.web.origin, AccessKey(KEY_ID, Secret(KEY_SECRET)))


def credentials(login: AcrLogin) -> str:
    """The user and the password of a request."""
    kind, _, pair = login.headers("repository:m:pull")["Authorization"].partition(" ")
    assert kind == "Basic"
    return base64.b64decode(pair).decode()


def test_a_password_is_requested_at_first_use_and_kept_until_shortly_before_it_expires(acr: Acr) -> None:
    clock = Clock()
    login = AcrLogin(settings(acr), clock)
    assert acr.web.seen == []
    assert credentials(login) == "cr_temp_user:password-1"
    clock.now_s += 3600 - 301
    assert credentials(login) == "cr_temp_user:password-1"
    assert acr.given == 1
    clock.now_s += 2
    assert credentials(login) == "cr_temp_user:password-2"


def test_with_a_clock_that_is_wrong_a_password_is_kept_for_a_minute(acr: Acr) -> None:
    clock = Clock()
    clock.now_s += 86_400
    login = AcrLogin(settings(acr), clock)
    assert credentials(login) == credentials(login) == "cr_temp_user:password-1"
    clock.now_s += 61
    assert credentials(login) == "cr_temp_user:password-2"


def test_a_refused_password_is_renewed_unless_it_is_fresh(acr: Acr) -> None:
    clock = Clock()
    login = AcrLogin(settings(acr), clock)
    assert not login.renew("", "Basic")
    credentials(login)
    assert not login.renew("", "Basic")
    clock.now_s += 120
    assert login.renew("", "Basic")
    assert credentials(login) == "cr_temp_user:password-2"


def test_a_temporary_key_goes_with_its_own_token(acr: Acr) -> None:
    acr.security_token = "the-token-of-the-key"
    with pytest.raises(Refused, match="InvalidSecurityToken"):
        credentials(AcrLogin(settings(acr)))
    key = AccessKey(KEY_ID, Secret(KEY_SECRET), Secret(acr.security_token))
    assert credentials(AcrLogin(replace(settings(acr), key=key))) == "cr_temp_user:password-1"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (
            lambda made: replace(made, key=replace(made.key, access_key_secret=Secret("another"))),
            "403 SignatureNotMatch",
        ),
        (lambda made: replace(made, key=replace(made.key, access_key_id="unknown")), "403 InvalidAccessKeyID"),
        (lambda made: replace(made, instance="cri-other"), "INSTANCE_NOT_EXIST"),
    ],
)
def test_the_hint_of_a_refused_password_names_what_to_check(
    acr: Acr, changed: Callable[[AcrSettings], AcrSettings], why: str
) -> None:
    with pytest.raises(Refused, match=why) as said:
        credentials(AcrLogin(changed(settings(acr))))
    assert "the access key" in said.value.hint
    assert "another" not in str(said.value)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (lambda: refused(503, "ServiceUnavailable", "later"), Unavailable),
        (lambda: refused(400, "Throttling.User", "too often"), Unavailable),
        (lambda: refused(429, "TooMany", "too often"), Unavailable),
        (lambda: Reply(200, {}, b"<html>a proxy"), Unavailable),
        (lambda: Reply(200, {"Content-Type": "application/json"}, b"[]"), Unavailable),
        (lambda: Reply(200, {"Content-Type": "application/json"}, b'{"IsSuccess": true}'), Unavailable),
        (lambda: refused(403, "NoPermission", "not you"), Refused),
    ],
)
def test_an_answer_without_a_password_is_translated(
    acr: Acr, answer: Callable[[], Reply], kind: type[SyncdError]
) -> None:
    acr.web.faults.append(lambda _: answer())
    with pytest.raises(kind, match=f"GetAuthorizationToken {INSTANCE}"):
        credentials(AcrLogin(settings(acr)))
    acr.web.faults.clear()
    assert credentials(AcrLogin(settings(acr)))


def test_a_server_that_does_not_answer_is_unavailable(acr: Acr) -> None:
    login = AcrLogin(settings(acr))
    acr.web.stop()
    with pytest.raises(Unavailable):
        credentials(login)


@pytest.mark.needs_docker_registry
def test_a_password_that_the_registry_no_longer_takes_is_replaced_while_it_is_read(acr: Acr, tmp_path: Path) -> None:
    acr.user, acr.passwords = USER, (PASSWORD, "of-yesterday", PASSWORD)
    clock, tokens_clock = Clock(), Clock()
    with distribution(tmp_path, "token") as house:
        house.push("m", "v1", {"a": b"1"})
        login = AcrLogin(settings(acr), clock)
        access = OciAuth(house.origin, login, clock=tokens_clock)
        http = HttpClient(HttpSettings(house.origin), access)
        ask = HttpRequest(f"{house.origin}/v2/m/tags/list", scope="repository:m:pull")
        assert http.fetch(ask).json()["tags"] == ["v1"]
        clock.now_s += 3400
        credentials(login)  # of-yesterday
        clock.now_s += 120
        tokens_clock.now_s += 600  # so that another token is needed, for which the password is shown
        assert http.fetch(ask).json()["tags"] == ["v1"]
    assert acr.given == 3
