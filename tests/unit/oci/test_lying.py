"""A registry that sends wrong answers, loses data, refuses or redirects: the outcome and the reported error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from syncd.cli.exit_codes import code_of
from syncd.errors import Corrupt, Failed, Invalid, Refused, SyncdError, Unavailable
from syncd.http.bodies import PackedBody
from syncd.http.client import HttpClient, HttpResponse, HttpSettings
from syncd.oci.build import BuiltImage, LayerOrigin
from syncd.oci.layers import layers_of
from syncd.oci.uploads import RepositoryHttp

from tests.emulators.distribution import Distribution, distribution
from tests.emulators.relay import ImageRelay, image_relay
from tests.emulators.web import Fault, Reply, Request, Web, as_json, ranged
from tests.support import docs
from tests.unit.oci.kitchen import SMALL, Kitchen, model, push_base

pytestmark = pytest.mark.needs_docker_registry
CHUNK, SHARD = 1 << 19, 9 << 17
PAGE = docs.ROOT / "docs/how-to/images.md"
HEADING = "Misbehaving registries"
SENT = {0: "nothing", CHUNK: "a chunk", SHARD: "the layer", 5 * CHUNK: "some layers"}


@dataclass
class Nth:
    """A fault for one request of a method, counted from 1; all others pass."""

    method: str
    number: int
    answer: Callable[[Request], Reply | None]
    seen: int = 0

    def __call__(self, request: Request) -> Reply | None:
        if request.method != self.method or "/blobs/uploads" not in request.path:
            return None
        self.seen += 1
        return self.answer(request) if self.seen == self.number else None


def error(code: str, status: int, **headers: str) -> Reply:
    return as_json({"errors": [{"code": code, "message": "so it says"}]}, status, headers)


def limited() -> Reply:
    return error("TOOMANYREQUESTS", 429, **{"Retry-After": "0"})


def always(method: str, part: str, answer: Callable[[Request], Reply]) -> Fault:
    return lambda request: answer(request) if request.method == method and part in request.path else None


def half(relay: ImageRelay) -> Callable[[Request], Reply]:
    """It keeps the first half of a chunk, and reports that."""
    return lambda request: relay.forward(request, request.body[: len(request.body) // 2])


def lost(relay: ImageRelay) -> Callable[[Request], Reply]:
    """It carries out the request, and its response is lost."""

    def answer(request: Request) -> Reply:
        relay.forward(request)
        return Reply(502, {}, b"<html>bad gateway")

    return answer


def altered(relay: ImageRelay, **headers: str) -> Callable[[Request], Reply]:
    """It carries out the request, and its response has other headers. An empty header is left out."""

    def answer(request: Request) -> Reply:
        reply = relay.forward(request)
        changed = {name.lower(): value for name, value in reply.headers.items()}
        changed |= {name.replace("_", "-"): value for name, value in headers.items()}
        return Reply(reply.status, {name: value for name, value in changed.items() if value}, reply.body)

    return answer


def flipped(relay: ImageRelay) -> Callable[[Request], Reply]:
    """One bit changes on the way."""
    return lambda request: relay.forward(request, bytes([request.body[0] ^ 1]) + request.body[1:])


@dataclass
class Case:
    """A fault of a registry, once or always, and the bytes sent at most because of it."""

    fault: Callable[[ImageRelay], Fault]
    more_bytes: int = 0


SURVIVED = {
    "stores half of a chunk": Case(lambda relay: Nth("PATCH", 2, half(relay)), 0),
    "loses the answer to a chunk": Case(lambda relay: Nth("PATCH", 2, lost(relay))),
    "loses the answer to the end of a blob": Case(lambda relay: Nth("PUT", 1, lost(relay))),
    "answers 429 to one chunk": Case(lambda _: Nth("PATCH", 2, lambda _: limited()), CHUNK),
    "answers 429 to the start of an upload": Case(lambda _: Nth("POST", 2, lambda _: limited())),
    "answers 500 once": Case(lambda _: Nth("PATCH", 1, lambda _: Reply(500)), CHUNK),
    "loses an upload": Case(lambda _: Nth("PATCH", 2, lambda _: error("BLOB_UPLOAD_UNKNOWN", 404)), SHARD),
    "reports another offset (416)": Case(lambda _: Nth("PATCH", 2, lambda _: Reply(416)), CHUNK),
    "forgets a stored chunk": Case(lambda relay: Nth("PATCH", 2, altered(relay, range="0-9")), SHARD),
    "omits the stored size": Case(lambda relay: Nth("PATCH", 1, altered(relay, range=""))),
    "does not mount blobs": Case(
        lambda relay: Nth("POST", 1, lambda request: relay.forward(replace(request, target=request.path)))
    ),
    "receives another bake of the same version": Case(
        lambda relay: Nth("PATCH", 2, lambda request: relay.forward(request, 2 * request.body)), 5 * CHUNK
    ),
    "refuses to delete an upload": Case(lambda _: always("DELETE", "", lambda _: error("UNSUPPORTED", 405))),
    "accepts no chunks": Case(lambda _: always("PATCH", "", lambda _: error("UNSUPPORTED", 405)), CHUNK),
}  # fmt: skip


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> BuiltImage:
    """The image in a registry without faults."""
    with distribution(tmp_path_factory.mktemp("right")) as made:
        push_base(made)
        return Kitchen(made.origin).bake(model())


@pytest.mark.parametrize("name", SURVIVED)
def test_the_image_is_right_and_little_is_sent_twice(name: str, relay: ImageRelay, right: BuiltImage) -> None:
    kitchen, case = Kitchen(relay.origin), SURVIVED[name]
    relay.web.faults.append(case.fault(relay))
    baked = kitchen.bake(model())
    assert baked.digest == right.digest
    least_bytes = sum(layer.size_bytes for layer in baked.layers[1:])
    assert relay.bytes_in <= least_bytes + case.more_bytes + 8192
    assert kitchen.notes.uploads == {}


REFUSED: dict[str, tuple[Callable[[ImageRelay], Fault], type[SyncdError], str]] = {
    "reports another digest of a blob": (
        lambda relay: Nth("PUT", 1, altered(relay, docker_content_digest=f"sha256:{'ab' * 32}")),
        Corrupt,
        "the registry has 'sha256:abab",
    ),
    "reports another digest of a manifest": (
        lambda _: always("PUT", "/manifests/", lambda _: Reply(201, {"Docker-Content-Digest": f"sha256:{'ab' * 32}"})),
        Corrupt,
        "the registry has 'sha256:abab",
    ),
    "stores a flipped bit": (lambda relay: Nth("PATCH", 1, flipped(relay)), Corrupt, "DIGEST_INVALID"),
    "always reports more than was sent": (
        lambda relay: always("PATCH", "", altered(relay, range="0-99999999")),
        Unavailable,
        "expected at most 524288 bytes, got 100000000",
    ),
    "serves another blob under a digest": (
        lambda _: always("GET", "/blobs/sha256:", lambda _: Reply(200, {}, b"{}")),
        Corrupt,
        "of blob",
    ),
    "sends a malformed range": (
        lambda relay: Nth("PATCH", 1, altered(relay, range="all of it")),
        Failed,
        "expected the range 0-…, got 'all of it'",
    ),
    "answers 202 without a location": (
        lambda relay: Nth("POST", 2, altered(relay, location="")),
        Failed,
        "status 202 without a Location",
    ),
    "answers 202 to a chunk without the next location": (
        lambda relay: Nth("PATCH", 1, altered(relay, location="")),
        Failed,
        "status 202 without a Location",
    ),
    "requires chunks that exceed the memory": (
        lambda relay: Nth("POST", 2, altered(relay, oci_chunk_min_length="9999999999")),
        Invalid,
        "chunks of at least '9999999999' bytes",
    ),
    "requires chunks of a number that is longer than numbers are read": (
        lambda relay: Nth("POST", 2, altered(relay, oci_chunk_min_length="9" * 5000)),
        Invalid,
        "chunks of at least '99999999999999999999' bytes",
    ),
    "loses every upload": (
        lambda _: always("PATCH", "", lambda _: error("BLOB_UPLOAD_UNKNOWN", 404)),
        Unavailable,
        "BLOB_UPLOAD_UNKNOWN",
    ),
    "accepts blobs and loses them": (
        lambda relay: always("HEAD", "/blobs/", lambda _: Reply(404)),
        Unavailable,
        "was accepted and does not exist",
    ),
    "reports another size of a blob": (
        lambda relay: always("HEAD", "/blobs/", lambda _: Reply(200, {"Content-Length": "3"})),
        Corrupt,
        "got 3",
    ),
    "answers 429 without end": (lambda _: always("PATCH", "", lambda _: limited()), Unavailable, "TOOMANYREQUESTS"),
    "revokes the right to push": (
        lambda _: always("PATCH", "", lambda _: error("DENIED", 403)),
        Refused,
        "DENIED: so it says",
    ),
    "accepts a manifest and loses it": (
        lambda _: always("PUT", "/manifests/", lambda _: Reply(201)),
        Unavailable,
        "was pushed and does not exist",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_no_image_is_visible_and_the_reason_is_reported(name: str, registry: Distribution, relay: ImageRelay) -> None:
    fault, kind, why = REFUSED[name]
    relay.web.faults.append(fault(relay))
    with pytest.raises(kind) as caught:
        Kitchen(relay.origin).bake(model())
    assert why in caught.value.message
    assert registry.tags("team/sdxl") == []


LED_ELSEWHERE = {
    "expires a token during a push": ("correct image", SENT[CHUNK]),
    "issues no further token": ("no image, exit code 10", "–"),
    "redirects a chunk to another host (307)": ("correct image; no credentials sent there", SENT[CHUNK]),
    "moves an upload to another host": ("continued there, without credentials", SENT[0]),
    "serves blobs from another host (307)": ("correct image; no credentials sent there", SENT[0]),
    "moves an upload to an address without TLS": ("no image, exit code 2", "–"),
}  # each has a test of its own below


def test_the_page_lists_exactly_these_registries() -> None:
    rows = [[name, "correct image", SENT[case.more_bytes]] for name, case in SURVIVED.items()]
    rows += [[name, *rest] for name, rest in LED_ELSEWHERE.items()]
    rows += [[name, f"no image, exit code {code_of(kind(''))}", "–"] for name, (_, kind, _) in REFUSED.items()]
    assert docs.rows(PAGE, HEADING) == rows, "\n".join(f"| {' | '.join(row)} |" for row in rows)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[Distribution, ImageRelay]]:
    """A registry that requires tokens, behind a relay."""
    with distribution(tmp_path, "token") as house:
        push_base(house)
        with image_relay(house.origin, keeps_state=True) as relay:
            yield house, relay


def test_a_token_that_is_refused_in_the_middle_is_replaced(guarded: tuple[Distribution, ImageRelay]) -> None:
    house, relay = guarded
    assert house.tokens
    realm = f'Bearer realm="{house.tokens.web.origin}/token",service="syncd-registry",error="invalid_token"'
    relay.web.faults.append(Nth("PATCH", 2, lambda _: error("UNAUTHORIZED", 401, **{"WWW-Authenticate": realm})))
    baked = Kitchen(relay.origin, login=True).bake(model())
    assert baked.layers[1].how is LayerOrigin.PUSHED
    assert relay.bytes_in < sum(layer.bytes_sent for layer in baked.layers) + 8192


def test_a_token_that_is_refused_and_not_replaced_ends_the_bake(guarded: tuple[Distribution, ImageRelay]) -> None:
    house, relay = guarded
    assert house.tokens
    realm = f'Bearer realm="{house.tokens.web.origin}/token",service="syncd-registry",error="invalid_token"'
    relay.web.faults.append(always("PATCH", "", lambda _: error("UNAUTHORIZED", 401, **{"WWW-Authenticate": realm})))
    house.tokens.web.faults.append(lambda _: Reply(401) if relay.web.seen[-1].method == "PATCH" else None)
    with pytest.raises(Refused) as caught:
        Kitchen(relay.origin, login=True).bake(model())
    assert "401" in caught.value.message
    assert house.tags("team/sdxl") == []


def test_credentials_do_not_follow_a_redirect_to_another_host(guarded: tuple[Distribution, ImageRelay]) -> None:
    _, relay = guarded
    far = Web(lambda request: Reply(202, {"Location": request.target, "Range": f"0-{len(request.body) - 1}"}))
    with far:
        elsewhere = f"http://localhost:{far.port}/store"
        relay.web.faults.append(Nth("PATCH", 1, lambda _: Reply(307, {"Location": elsewhere})))
        baked = Kitchen(relay.origin, login=True).bake(model())  # that store is none, so it is begun anew here
    assert baked.layers[1].how is LayerOrigin.PUSHED
    assert far.seen
    assert far.seen[0].method == "PATCH"
    assert len(far.seen[0].body) == CHUNK
    assert all("authorization" not in request.headers for request in far.seen)
    assert any("authorization" in request.headers for request in relay.web.seen)


def test_uploads_that_go_on_at_another_host_get_no_credentials(guarded: tuple[Distribution, ImageRelay]) -> None:
    _, relay = guarded
    far = Web(lambda request: Reply(500))
    with far:
        place = f"http://localhost:{far.port}/store"
        relay.web.faults.append(Nth("POST", 3, altered(relay, location=place)))
        with pytest.raises(Unavailable):
            Kitchen(relay.origin, login=True).bake(model())
    assert far.seen
    assert all("authorization" not in request.headers for request in far.seen)


def test_blobs_at_another_host_are_requested_without_credentials(
    guarded: tuple[Distribution, ImageRelay], tmp_path: Path
) -> None:
    def stored(request: Request) -> Reply:
        name = request.path.rpartition(":")[2]
        data = tmp_path / "blobs/docker/registry/v2/blobs/sha256" / name[:2] / name / "data"
        return ranged(request, data.read_bytes()) if data.exists() else Reply(404)

    _, relay = guarded
    with Web(stored) as far:

        def lies_far(request: Request) -> Reply:
            has = relay.forward(request)
            place = f"http://localhost:{far.port}{request.path}"
            return Reply(307, {"Location": place}) if has.status == 200 else has

        for method in ("GET", "HEAD"):
            relay.web.faults.append(always(method, "/blobs/sha256:", lies_far))
        baked = Kitchen(relay.origin, login=True).bake(model())
        again = Kitchen(relay.origin, login=True).repository
        assert again.has_blob(baked.layers[1].digest, baked.layers[1].size_bytes)
        assert {request.method for request in far.seen} == {"GET", "HEAD"}
        assert all("authorization" not in request.headers for request in far.seen)


def test_a_registry_that_wants_larger_chunks_gets_them(relay: ImageRelay) -> None:
    relay.web.faults.append(always("POST", "", altered(relay, oci_chunk_min_length="800000")))
    Kitchen(relay.origin).bake(model())
    sizes = [len(request.body) for request in relay.web.seen if request.method == "PATCH"]
    assert max(sizes) == 800_000


def test_a_redirect_to_an_unencrypted_address_is_refused() -> None:
    wire = RepositoryHttp(HttpClient(HttpSettings("https://registry.local")), "repository:a:pull,push")
    url = "https://registry.local/v2/a/blobs/uploads/"
    assert wire.location(HttpResponse(url, 202, {"location": "/v2/a/1?_state=x"}, PackedBody.of(b""))).startswith(
        "https://registry.local/"
    )
    with pytest.raises(Invalid, match="which is not encrypted") as caught:
        wire.location(
            HttpResponse(url, 202, {"location": "http://registry.local/v2/a/1?_state=secret"}, PackedBody.of(b""))
        )
    assert "secret" not in caught.value.message


def test_the_hint_of_a_refused_push_names_what_to_check(tmp_path: Path) -> None:
    with distribution(tmp_path, "htpasswd") as house:
        push_base(house)
        with pytest.raises(SyncdError, match="401 UNAUTHORIZED") as caught:
            Kitchen(house.origin).bake(model())
    assert "user and the password" in caught.value.hint


def test_an_upload_lost_since_the_last_build_is_sent_again(registry: Distribution, right: BuiltImage) -> None:
    kitchen = Kitchen(registry.origin)
    for layer in layers_of(model()[0], "/models/sdxl", SMALL.alone_bytes):
        kitchen.notes.opened(layer.recipe, f"{registry.origin}/v2/team/sdxl/blobs/uploads/gone?_state=old")
    assert kitchen.bake(model()).digest == right.digest
    assert kitchen.notes.uploads == {}
