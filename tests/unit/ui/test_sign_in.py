"""Sign-in, sessions and forms: who is let in, for how long, and what another site can do."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from syncd.plan.roles import Role
from syncd.plan.token_limits import TokenLimits
from syncd.secret import Secret
from syncd.state.access import tokens
from syncd.ui.routes import routes_of
from syncd.ui.sessions import LASTS_S, SESSIONS_MAX, Sessions

from tests.unit.api.serving import Served, serving
from tests.unit.ui.person import hidden_fields, signed_in, visitor

PAGES = ("/ui", "/ui/part")


def test_a_token_opens_a_session_and_the_page_never_shows_it(served: Served) -> None:
    with visitor(served) as ann:
        done = ann.sign_in(served.token(Role.READ))
        assert (done.status_code, done.headers["location"]) == (303, "/ui")
        (cookie,) = [each for each in done.headers.get_list("set-cookie") if each.startswith("syncd=")]
        assert {"HttpOnly", "Path=/", "SameSite=strict", f"Max-Age={LASTS_S:.0f}"} <= set(cookie.split("; "))
        assert served.token(Role.READ) not in cookie
        page = ann.open("/ui")
        assert (page.status_code, "a-reader (read)" in page.text) == (200, True)
        assert served.token(Role.READ) not in page.text


@pytest.mark.parametrize("path", PAGES)
def test_without_a_session_every_page_leads_to_the_sign_in(served: Served, path: str) -> None:
    with visitor(served, cookie="syncd=invented") as ann:
        answer = ann.open(path)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/ui/sign-in")
        part = ann.open(path, **{"HX-Request": "true"})
        assert (part.status_code, part.headers["hx-redirect"]) == (401, "/ui/sign-in")
    assert served.refused() == []


def test_after_the_sign_in_the_page_comes_that_was_asked_for(served: Served) -> None:
    with visitor(served) as ann:
        at = ann.open("/ui?page=1&find=sd").headers["location"]
        form = hidden_fields(ann.open(at).text)
        assert form["next"] == "/ui?page=1&find=sd"
        done = ann.client.post("/ui/sign-in", data={**form, "token": served.token(Role.READ)})
        assert done.headers["location"] == "/ui?page=1&find=sd"


ELSEWHERE = ("//evil.example", "https://evil.example", "/ui/../v1", "/uix", "/ui\\evil", "/ui\r\nX: y")


@pytest.mark.parametrize("to", ELSEWHERE)
def test_it_leads_nowhere_else(served: Served, to: str) -> None:
    with visitor(served) as ann:
        done = ann.sign_in(served.token(Role.READ), next=to)
        assert done.status_code == 303
        assert done.headers["location"] in {"/ui", "/ui/../v1"}  # a path of this host


@pytest.mark.parametrize("token", ["", "x", "syncd_000000000000_" + "a" * 43])
def test_a_wrong_token_is_refused_and_counted_as_a_caller_of_the_api_is(served: Served, token: str) -> None:
    with visitor(served) as ann:
        done = ann.sign_in(token)
        assert (done.status_code, 'role="alert"' in done.text) == (401, True)
        assert ann.open("/ui").status_code == 303
    (refused,) = served.refused()
    assert (refused.name, refused.address, refused.count) == ("", "127.0.0.1", 1)


def test_a_revoked_token_ends_its_sessions(served: Served) -> None:
    with signed_in(served) as ann, signed_in(served, Role.READ) as bob:
        with served.state.write() as conn:
            tokens.revoke(conn, f"a-{Role.OPERATE}er", "carol", served.state.now(conn))
        assert ann.open("/ui").status_code == 303
        assert bob.open("/ui").status_code == 200


def test_signing_out_ends_the_session_also_for_who_kept_the_cookie(served: Served) -> None:
    with signed_in(served) as ann:
        kept = ann.client.cookies["syncd"]
        done = ann.send("/ui/sign-out", "/ui")
        assert (done.status_code, done.headers["location"]) == (303, "/ui/sign-in")
        assert "syncd" not in ann.client.cookies
        ann.client.cookies["syncd"] = kept
        assert ann.open("/ui").status_code == 303


@pytest.mark.parametrize("field", [{}, {"csrf": ""}, {"csrf": "x"}, {"csrf": b"\xed\xa0\x80"}])
def test_a_form_of_another_page_does_nothing(served: Served, field: dict[str, str]) -> None:
    with signed_in(served) as ann:
        assert ann.client.post("/ui/sign-out", data=field).status_code in {400, 403}
        assert ann.open("/ui").status_code == 200
        csrf = hidden_fields(ann.open("/ui").text)
        for site in ("cross-site", "same-site"):
            assert ann.client.post("/ui/sign-out", data=csrf, headers={"Sec-Fetch-Site": site}).status_code == 403
        assert ann.open("/ui").status_code == 200
        with signed_in(served) as bob:
            assert bob.client.post("/ui/sign-out", data=csrf).status_code == 403


def test_another_site_signs_nobody_in(served: Served) -> None:
    with visitor(served) as ann:
        done = ann.client.post("/ui/sign-in", data={"token": served.token(Role.READ), "csrf": ""})
        assert done.status_code == 403
        assert "syncd" not in ann.client.cookies


def test_behind_a_proxy_with_tls_cookies_are_secure_and_of_this_host_alone(at: object) -> None:
    with serving(at, pages=routes_of(), proxies=("127.0.0.1",)) as made:  # type: ignore[arg-type]
        with visitor(made, **{"X-Forwarded-Proto": "https"}) as ann:
            form = hidden_fields(ann.open("/ui/sign-in").text)
            cookies = {"Cookie": f"__Host-syncd-form={form['csrf']}"}
            done = ann.client.post("/ui/sign-in", data={**form, "token": made.token(Role.READ)}, headers=cookies)
        kept = [each for each in done.headers.get_list("set-cookie") if each.startswith("__Host-syncd=")]
        assert "Secure" in kept[0].split("; ")
    with serving(at, pages=routes_of(), proxies=()) as made, visitor(made, **{"X-Forwarded-Proto": "https"}) as ann:  # type: ignore[arg-type]
        assert "Secure" not in ann.open("/ui/sign-in").headers["set-cookie"]


def test_a_session_lasts_as_long_as_it_says_and_their_number_is_bounded() -> None:
    now_s = 0.0
    sessions = Sessions(lambda: now_s)
    first = sessions.begin(Secret("t"))
    now_s = LASTS_S - 1
    assert sessions.find(first) is not None
    now_s = LASTS_S
    assert sessions.find(first) is None
    others = [sessions.begin(Secret("t")) for _ in range(SESSIONS_MAX)]
    assert sessions.find(others[0]) is not None
    sessions.begin(Secret("t"))
    assert (sessions.find(others[0]) is None, sessions.find(others[1]) is None) == (False, True)
    sessions.end(others[0])
    sessions.end(others[0])
    assert sessions.find(others[0]) is None


def test_the_token_of_a_session_is_not_in_its_text() -> None:
    sessions = Sessions(lambda: 0.0)
    assert "syncd_secret" not in repr(sessions.find(sessions.begin(Secret("syncd_secret"))))


def test_a_token_for_some_models_is_refused_as_the_pages_show_all(served: Served) -> None:
    limits = {"models": TokenLimits(models=("sdxl",)), "time": TokenLimits(ends_at=datetime(2020, 1, 1, tzinfo=UTC))}
    made = {}
    with served.state.write() as conn:
        for name, each in limits.items():
            made[name] = tokens.create(conn, name, Role.OPERATE, "ann@desk", served.state.now(conn), each).reveal()
    with visitor(served) as ann:
        refused = ann.sign_in(made["models"])
        assert refused.status_code == 403
        assert "for the models sdxl only" in refused.text
        assert ann.sign_in(made["time"]).status_code == 401
        assert ann.open("/ui").status_code in {303, 302}
