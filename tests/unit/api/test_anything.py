"""Property tests of the API: any request to any path gets the common error shape, and never a 500."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from syncd.api.openapi import DOCUMENT
from syncd.plan.roles import Role
from syncd.state.state import State

from tests.support.rooms import SDXL, World, site
from tests.unit.api.deliveries import SHOWN, genuine, hook
from tests.unit.api.serving import Served, serving

KINDS = ("harbor push", "acr", "dockerhub", "huggingface", "oci push", "oss as cloudevent")
PATHS = sorted(set(DOCUMENT["paths"]) - {"/v1/events"})
SECRET = {"Authorization": SHOWN, "X-Webhook-Secret": SHOWN}
EXPECTED = {200, 202, 400, 401, 403, 404, 405, 409, 413, 429, 503}

texts = st.text(max_size=20) | st.sampled_from([SDXL, "v1", "lora", "r-1", "..", "\x00", "a/b", "%2f", "é", "9" * 40])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(["model", "ref", "why", "events", "repository", "event", "repo", "updatedRefs", "id", "data"])
bodies = (
    st.binary(max_size=200)
    | values.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(keys, values, max_size=6).map(lambda value: json.dumps(value).encode())
)
names = st.sampled_from(["Idempotency-Key", "Content-Type", "Last-Event-ID", "X-Forwarded-For", "ce-id", "ce-type"])
sendable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30).map(str.strip)
headers = st.dictionaries(names, sendable, max_size=3)
queries = st.dictionaries(st.sampled_from(["model", "limit", "token", "after"]), texts, max_size=2)


@pytest.fixture(scope="module")
def everything(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with every kind of webhook that a stranger's body can reach once the secret is known."""
    root = tmp_path_factory.mktemp("anything")
    (root / "state.db").write_bytes(sqlite_template.read_bytes())
    state, world = State(f"sqlite:///{root / 'state.db'}"), World(root / "registry")
    world.deliver(SDXL, "v1")
    given_ones = {each.name: each for each in genuine()}
    hooks = {name.partition(" ")[0]: hook(given_ones[name], root) for name in KINDS}
    with serving(site(world, state), hooks) as served:
        for role in Role:
            served.token(role)
        yield served
    state.close()


@pytest.fixture(scope="module")
def client(everything: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=everything.url, timeout=30, trust_env=False) as made:
        yield made


def assert_in_shape(answer: httpx.Response) -> None:
    assert answer.status_code in EXPECTED, (answer.status_code, answer.text)
    if answer.status_code >= 400 and answer.request.method != "HEAD":
        assert set(answer.json()) == {"code", "message", "hint"}
    assert "Traceback" not in answer.text


@given(
    path=st.sampled_from(PATHS),
    name=texts | st.sampled_from([name.partition(" ")[0] for name in KINDS]),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]),
    body=bodies,
    header=headers,
    query=queries,
    role=st.sampled_from([*Role, None]),
)
@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_no_request_is_a_bug(  # noqa: PLR0917 -- a request has as many parts
    everything: Served,
    client: httpx.Client,
    path: str,
    name: str,
    method: str,
    body: bytes,
    header: dict[str, str],
    query: dict[str, str],
    role: Role | None,
) -> None:
    target = path
    for part in ("{release}", "{model}", "{hook}"):
        target = target.replace(part, httpx.QueryParams({"x": name}).__str__()[2:].replace("+", "%20"))
    given_headers = {**SECRET, **header}
    if role is not None and not path.startswith("/hooks"):
        given_headers["Authorization"] = f"Bearer {everything.token(role)}"
    assert_in_shape(client.request(method, target, params=query, content=body, headers=given_headers))


@given(body=bodies, kind=st.sampled_from([name.partition(" ")[0] for name in KINDS]))
@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_no_proven_body_is_a_bug(client: httpx.Client, body: bytes, kind: str) -> None:
    secret = {"Authorization": "hook-token"} if kind == "oci" else SECRET
    answer = client.post(f"/hooks/{kind}", params={"token": SHOWN}, content=body, headers=secret)
    assert_in_shape(answer)
    assert answer.status_code in {202, 400}, answer.text


@given(model=texts, ref=texts, key=sendable)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_no_requested_release_is_a_bug(
    everything: Served, client: httpx.Client, model: str, ref: str, key: str
) -> None:
    allowed = {"Authorization": f"Bearer {everything.token(Role.PUBLISH)}", "Idempotency-Key": key}
    body = json.dumps({"model": model, "ref": ref})
    assert_in_shape(client.post("/v1/releases", content=body, headers=allowed))
