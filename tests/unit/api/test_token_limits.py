"""Tokens with limits: action × scope from the routes themselves, addresses, ends, and requests a minute."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from syncd.api.limits.allowances import Allowances
from syncd.api.routes import ROUTES
from syncd.client import Client
from syncd.plan.roles import Role
from syncd.plan.token_limits import TokenLimits
from syncd.state.access import tokens
from syncd.state.state import State

from tests.support.rooms import LORA, SDXL, Site
from tests.unit.api.serving import Served, problem, serving

RELEASES = {"sdxl": "r-1", "lora": "r-2"}
# Routes that check no token.
OPEN = {"/healthz", "/readyz", "/openapi.json", "/hooks/{hook}"}
PLACES = [
    (route.path, method)
    for route in ROUTES
    for method in sorted(route.methods or ())
    if route.path not in OPEN and method != "HEAD"
]
# Of these a token for some models is accepted; every other place is about all models.
ABOUT_A_MODEL = {
    "/v1/releases": "model",
    "/v1/status": "model",
    "/v1/verification": "model",
    "/v1/starts": "model",
    "/v1/advice": "model",
    "/v1/version": "name",
    "/v1/plan": "name",
}


@pytest.fixture
def state(usual_state: State) -> State:
    return usual_state


@pytest.fixture
def two(at: Site) -> Iterator[Served]:
    """A server whose record has a release of each of two models."""
    from syncd.reconcile.requests.operations import publish

    for model in (SDXL, LORA):
        at.world.deliver(model, "v1")
    made = {model: publish(at.requester, model, "v1").id for model in (SDXL, LORA)}
    assert made == {SDXL: RELEASES["sdxl"], LORA: RELEASES["lora"]}
    with serving(at) as served:
        yield served


def token(served: Served, name: str, limits: TokenLimits, role: Role = Role.OPERATE) -> str:
    with served.state.write() as conn:
        return tokens.create(conn, name, role, "ann@desk", served.state.now(conn), limits).reveal()


def asked(served: Served, text: str, path: str, method: str, model: str) -> httpx.Response:
    """A request to a route about a model, as far as the route lets it say one."""
    target = path.replace("{model:path}", model).replace("{release}", RELEASES[model]).replace("{lease}", "l")
    query = {}
    if ABOUT_A_MODEL.get(path) == "model" and method == "GET":
        query = {"model": model}
    elif ABOUT_A_MODEL.get(path) == "name":
        query = {"name": f"{model}@v1"}
    body = {"model": model, "ref": "v1"} if (path, method) == ("/v1/releases", "POST") else {}
    headers = {"Authorization": f"Bearer {text}"}
    more: dict[str, Any] = {"json": body} if method in {"POST", "PUT"} else {}
    return served.call(method, target, headers=headers, params=query, **more)


def is_about_a_model(path: str) -> bool:
    return "{model" in path or "{release}" in path or path in ABOUT_A_MODEL


@pytest.mark.parametrize(("path", "method"), PLACES)
def test_a_token_of_one_model_is_refused_wherever_another_or_all_are_meant(two: Served, path: str, method: str) -> None:
    mine = token(two, "lora-ci", TokenLimits(models=("lo*",)))
    status, code = problem(asked(two, mine, path, method, "sdxl"))
    assert (status, code) == (403, "forbidden")
    if is_about_a_model(path):
        assert asked(two, mine, path, method, "lora").status_code != 403
    else:
        assert problem(asked(two, mine, path, method, "lora")) == (403, "forbidden")


def test_a_request_that_names_no_model_is_refused(two: Served) -> None:
    mine = {"Authorization": f"Bearer {token(two, 'lora-ci', TokenLimits(models=('lora',)))}"}
    for path in ("/v1/releases", "/v1/status", "/v1/plan?name=lora-v1", "/v1/plan"):
        assert problem(two.call("GET", path, headers=mine)) == (403, "forbidden")
    named: dict[str, Any] = {"json": {"name": "sdxl-v1"}, "headers": mine}
    assert problem(two.call("POST", "/v1/releases", **named)) == (403, "forbidden")
    named = {"json": {"name": "lora-v1"}, "headers": mine}
    assert two.call("POST", "/v1/releases", **named).status_code == 202


def test_a_pipeline_publishes_and_follows_with_a_token_of_its_model(two: Served) -> None:
    mine = token(two, "ci", TokenLimits(models=("lora",)), Role.PUBLISH)
    with Client(two.url, mine, trust_env=False) as client:
        release = client.publish("lora", "v1")
        assert client.release(release.id).model == "lora"


def test_the_end_of_a_token_is_the_end_of_its_requests_and_of_its_stream(at: Site) -> None:
    now = datetime.now(UTC)
    with serving(at, clock_s=(now + timedelta(hours=2)).timestamp()) as served:
        ended = token(served, "ended", TokenLimits(ends_at=now + timedelta(hours=1)))
        lasting = token(served, "lasting", TokenLimits(ends_at=now + timedelta(hours=3)))
        answer = served.call("GET", "/v1/status", headers={"Authorization": f"Bearer {ended}"})
        assert problem(answer) == (401, "unauthenticated")
        assert answer.json()["message"].startswith("the token ended ended at ")
        assert "syncd token create ended" in answer.json()["hint"]
        assert served.call("GET", "/v1/status", headers={"Authorization": f"Bearer {lasting}"}).status_code == 200
        assert [(found.reason, found.name) for found in served.refused()] == [("ended token", "ended")]


@pytest.mark.parametrize(
    ("networks", "status"),
    [(("10.0.0.0/8",), 403), (("10.0.0.0/8", "127.0.0.0/8"), 200), (("127.0.0.1",), 200), (("::1",), 403)],
)
def test_a_token_is_accepted_from_its_addresses_only(served: Served, networks: tuple[str, ...], status: int) -> None:
    mine = token(served, "ci", TokenLimits(networks=networks))
    assert served.call("GET", "/v1/status", headers={"Authorization": f"Bearer {mine}"}).status_code == status


def test_requests_over_the_limit_get_the_time_to_wait(served: Served) -> None:
    mine = {"Authorization": f"Bearer {token(served, 'ci', TokenLimits(per_minute=2))}"}
    answers = [served.call("GET", "/v1/status", headers=mine) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert problem(answers[2]) == (429, "busy")
    assert 1 <= int(answers[2].headers["retry-after"]) <= 30
    assert served.get("/v1/status").status_code == 200, "the others are not limited by it"


def test_what_is_left_of_a_minute_comes_back_as_time_goes_by() -> None:
    now = [0.0]
    allowances = Allowances(lambda: now[0])
    assert [allowances.take("ci", 2) for _ in range(3)] == [0, 0, 30]
    now[0] = 29.0
    assert allowances.take("ci", 2) == 1
    now[0] = 30.0
    assert [allowances.take("ci", 2) for _ in range(2)] == [0, 30]
    now[0] = 10_000.0
    assert [allowances.take("ci", 2) for _ in range(3)] == [0, 0, 30], "an idle hour fills the bucket once"
    assert all(allowances.take("other", 0) == 0 for _ in range(100))


def test_limits_of_a_newer_release_make_a_token_unusable(served: Served) -> None:
    from sqlalchemy import update
    from syncd.state.db.schema import tokens as table

    mine = {"Authorization": f"Bearer {token(served, 'ci', TokenLimits(per_minute=9))}"}
    with served.state.write() as conn:
        conn.execute(update(table).values(limits={"per_minute": 9, "moon": "full"}))
    answer = served.call("GET", "/v1/status", headers=mine)
    assert answer.status_code >= 400
    assert re.search("unknown limit 'moon'", answer.text)
