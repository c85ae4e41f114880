"""Sign-in at a real OpenID provider: who is let in with which role, and what a stolen or invented answer is worth."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest
from syncd.plan.roles import Role
from syncd.state.releases import holds
from syncd.ui import sessions
from syncd.ui.provider_settings import CALLBACK
from syncd.ui.routes import routes_of

from tests.support.rooms import SDXL, Site
from tests.unit.api.serving import LIMIT_S, Served, serving
from tests.unit.ui.openid import SYNCD, provider_at
from tests.unit.ui.person import Person, visitor

pytestmark = pytest.mark.needs_npm


@pytest.fixture
def served(at: Site, issuer: str) -> Iterator[Served]:
    with serving(at, pages=routes_of(provider_at(issuer))) as made:
        yield made


def at_provider(start: str, login: str) -> str:
    """Sign in at the provider as a person does, and return where it leads back to."""
    with httpx.Client(timeout=LIMIT_S, trust_env=False) as browser:
        answer = browser.get(start)
        for _ in range(20):
            if answer.is_redirect:
                to = urljoin(str(answer.url), answer.headers["location"])
                if to.startswith(SYNCD):
                    return to
                answer = browser.get(to)
                continue
            form = re.search(r'action="([^"]+)"', answer.text)
            prompt = re.search(r'name="prompt" value="(\w+)"', answer.text)
            assert form, answer.text
            assert prompt, answer.text
            answer = browser.post(form[1], data={"prompt": prompt[1], "login": login, "password": "any"})
    raise AssertionError("the provider never led back")


def path_of(url: str) -> str:
    return url.removeprefix(SYNCD)


def sign_in(ann: Person, login: str) -> httpx.Response:
    began = ann.open("/ui/oidc")
    assert began.status_code == 302
    return ann.open(path_of(at_provider(began.headers["location"], login)))


def test_a_person_of_the_provider_acts_in_their_own_name(served: Served) -> None:
    with visitor(served) as ann:
        assert "Sign in with your organisation" in ann.open("/ui/sign-in").text
        done = sign_in(ann, "ann+all+oncall")
        assert (done.status_code, "Signed in as ann@example.com" in done.text) == (200, True)
        (cookie,) = [each for each in done.headers.get_list("set-cookie") if each.startswith("syncd=")]
        assert {"HttpOnly", "SameSite=strict"} <= set(cookie.split("; "))
        assert "ann@example.com (operate)" in ann.open("/ui").text
        assert ann.send(f"/ui/do/hold/{SDXL}", why="eyes").status_code == 303
        with served.state.read() as conn:
            (held,) = holds.all(conn)
        assert held.who == "ann@example.com@127.0.0.1"
        assert ann.send("/ui/sign-out", "/ui").status_code == 303
        assert ann.open("/ui").status_code == 303


def test_the_request_has_pkce_a_state_and_a_nonce_and_no_secret(served: Served) -> None:
    with visitor(served) as ann:
        asked = parse_qs(urlsplit(ann.open("/ui/oidc").headers["location"]).query)
    assert asked["response_type"] == ["code"]
    assert asked["code_challenge_method"] == ["S256"]
    assert all(len(asked[key][0]) >= 20 for key in ("code_challenge", "state", "nonce"))
    assert "client_secret" not in asked


def test_groups_give_the_role_and_without_one_nobody_is_let_in(served: Served) -> None:
    with visitor(served) as bob:
        sign_in(bob, "bob+all")
        assert "bob@example.com (read)" in bob.open("/ui").text
        assert bob.open(f"/ui/do/hold/{SDXL}").status_code == 403
    with visitor(served) as eve:
        refused = sign_in(eve, "eve+others")
        assert (refused.status_code, "eve@example.com has no role here" in refused.text) == (403, True)
        assert eve.open("/ui").status_code == 303
    assert [each.reason for each in served.refused()][-1] != ""


def test_an_address_that_was_not_verified_is_nobodys_name(served: Served) -> None:
    with visitor(served) as mallory:
        sign_in(mallory, "mallory+all")
        page = mallory.open("/ui").text
    assert "mallory@example.com" not in page
    assert "oidc:mallory+all (read)" in page


def test_an_answer_is_worth_nothing_to_another_browser_or_twice(served: Served) -> None:
    with visitor(served) as ann, visitor(served) as eve:
        began = ann.open("/ui/oidc").headers["location"]
        back = path_of(at_provider(began, "ann+oncall"))
        assert eve.open(back).status_code == 403
        eve.open("/ui/oidc")
        assert eve.open(back).status_code == 403
        assert eve.open("/ui").status_code == 303
        assert ann.open(back).status_code == 200
        assert ann.open(back).status_code == 403
        assert ann.open(f"{CALLBACK}?error=access_denied&state=x").status_code == 403
        assert ann.open(f"{CALLBACK}?code=x&state=y").status_code == 403


def test_who_is_dismissed_there_is_signed_out_here(
    served: Served, issuer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with visitor(served) as ann:
        sign_in(ann, "carol+oncall")
        monkeypatch.setattr(sessions, "RENEW_EVERY_S", 0.0)
        assert ann.open("/ui").status_code == 200
        httpx.get(f"{issuer}/test/dismiss", params={"sub": "carol+oncall"}, trust_env=False)
        assert ann.open("/ui").status_code == 303
        monkeypatch.setattr(sessions, "RENEW_EVERY_S", 300.0)
        assert ann.open("/ui").status_code == 303


def test_tokens_work_beside_it_and_while_it_is_away(at: Site) -> None:
    with serving(at, pages=routes_of(provider_at("http://127.0.0.1:9"))) as made, visitor(made) as ann:
        away = ann.open("/ui/oidc")
        assert (away.status_code, "sign in with a token" in away.text) == (503, True)
        assert ann.sign_in(made.token(Role.READ)).status_code == 303
        assert ann.open("/ui").status_code == 200
