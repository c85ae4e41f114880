"""OCI registry source: tokens, layouts, and manifests that are not models."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs
from syncd.artifact.names import FilePath, ModelName
from syncd.errors import Invalid, NotFound, Refused, Unavailable
from syncd.http.auth import BasicAuth
from syncd.registry.oci.auth import OciAuth
from syncd.registry.oci.registry import OciRegistry
from syncd.registry.settings import OciSettings
from syncd.secret import Secret
from syncd.values.source import Revision

from tests.conformance.registry import read
from tests.emulators.distribution import digest, layer
from tests.emulators.web import Reply, Request, Web, as_json, ranged
from tests.unit.registry.webs import http_to

SDXL = ModelName("sdxl")


class OciWeb:
    """A public repository with manifests and blobs, and any manifest on demand."""

    def __init__(self) -> None:
        self.manifests: dict[str, bytes] = {}
        self.tags: dict[str, str] = {}
        self.blobs: dict[str, bytes] = {}
        self.catalogue: object = {"repositories": ["sdxl"]}
        self.web = Web(self.answer)

    def put(self, tag: str, manifest: Mapping[str, Any]) -> str:
        body = json.dumps(manifest).encode()
        self.tags[tag] = digest(body)
        self.manifests[digest(body)] = body
        return digest(body)

    def push(self, tag: str, files: Mapping[str, bytes], created: str = "") -> str:
        self.blobs |= {digest(data): data for data in files.values()}
        notes = {"org.opencontainers.image.created": created} if created else None
        return self.put(tag, {"layers": [layer("oras", p, d) for p, d in files.items()], "annotations": notes})

    def answer(self, request: Request) -> Reply:
        if request.path == "/v2/_catalog":
            return as_json(self.catalogue)
        if request.path == "/v2/sdxl/tags/list":
            return as_json({"name": "sdxl", "tags": list(self.tags) or None})
        kind, _, reference = request.path.removeprefix("/v2/sdxl/").partition("/")
        if kind == "blobs" and reference in self.blobs:
            return ranged(request, self.blobs[reference])
        found = self.tags.get(reference, reference)
        if kind != "manifests" or found not in self.manifests:
            return as_json({"errors": [{"code": "MANIFEST_UNKNOWN"}]}, 404)
        return Reply(200, {"Docker-Content-Digest": found}, self.manifests[found])


@pytest.fixture
def oci() -> Iterator[OciWeb]:
    oci = OciWeb()
    with oci.web:
        yield oci


def registry_of(oci: OciWeb, *models: str) -> OciRegistry:
    origin = oci.web.origin
    return OciRegistry(OciSettings(origin, models or ("sdxl",)), http_to(oci.web, OciAuth(origin, None)))


def listed(registry: OciRegistry, tag: str = "v1") -> list[str]:
    return [file.path for file in registry.listing(SDXL, registry.resolve(SDXL, tag))]


def test_versions_without_a_time_are_ordered_by_their_numbers(oci: OciWeb) -> None:
    for tag in ("v10", "v9", "v1.10", "v1.9"):
        oci.push(tag, {tag: b"1"})
    assert [each.version for each in registry_of(oci).discover()] == ["v1.9", "v1.10", "v9", "v10"]


def test_versions_are_ordered_by_their_time_first(oci: OciWeb) -> None:
    oci.push("v2", {"a": b"1"}, "2026-01-01T00:00:00Z")
    oci.push("v1", {"a": b"2"}, "2026-01-02T00:00:00Z")
    assert registry_of(oci).resolve(SDXL, "latest").version == "v1"


def test_signatures_and_the_tag_latest_are_no_versions(oci: OciWeb) -> None:
    pushed = oci.push("v1", {"a": b"1"})
    oci.put("latest", {"layers": []})
    oci.put(f"sha256-{'0' * 64}", {"layers": []})
    oci.put(f"sha256-{'0' * 64}.sig", {"layers": []})
    with capture_logs() as logs:
        assert [each.version for each in registry_of(oci).discover()] == ["v1"]
    assert logs == []
    assert registry_of(oci).resolve(SDXL, "latest").pin == pushed


def test_a_manifest_without_a_digest_in_the_header_is_hashed(oci: OciWeb) -> None:
    pushed = oci.push("v1", {"a": b"1"})
    body = oci.manifests[pushed]
    oci.web.faults.append(lambda request: Reply(200, {}, body) if "/manifests/" in request.path else None)
    assert registry_of(oci).resolve(SDXL, "v1").pin == f"sha256:{hashlib.sha256(body).hexdigest()}"


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("2026-11-20T10:00:00+08:00", "2026-11-20T03:00:00Z"),
        ("2026-11-20T03:00:00Z", "2026-11-19T22:00:00.000000001-06:00"),
        ("2026-11-20T03:00:00.9Z", "2026-11-20T03:00:00.95Z"),
        ("2026-11-20T03:00:00Z", "2026-11-20t04:00:00z"),
        ("", "2026-11-20T03:00:00Z"),
        ("on a friday", "1971-01-01T00:00:00Z"),
        ("2026-11-20T23:00:00", "2026-11-20T03:00:00Z"),  # without an offset it is not a time
    ],
)
def test_the_newest_is_the_one_made_last_whatever_the_offset(oci: OciWeb, older: str, newer: str) -> None:
    oci.push("v2", {"a": b"older"}, older)
    oci.push("v1", {"a": b"newer"}, newer)
    with capture_logs() as logs:
        made = registry_of(oci)
        assert [[each.version for each in made.discover()] for _ in range(2)] == [["v2", "v1"]] * 2
    unused = [log for log in logs if "expected an RFC 3339 time" in str(log)]
    assert len(unused) == (1 if older and "Z" not in older and "+" not in older else 0), "said once"


@pytest.mark.parametrize("notes", [True, ["x"], {"org.opencontainers.image.created": ["x"]}])
def test_a_manifest_whose_notes_make_no_sense_hides_no_other(oci: OciWeb, notes: object) -> None:
    oci.push("v1", {"a": b"1"})
    oci.put("v2", {"layers": [layer("oras", "a", b"1")], "annotations": notes})
    with capture_logs() as logs:
        assert [each.version for each in registry_of(oci).discover()] == ["v1"]
    assert [log["version"] for log in logs] == ["sdxl@v2"]


def test_too_many_tags_are_refused_before_they_are_fetched(oci: OciWeb) -> None:
    def page(request: Request) -> Reply | None:
        if not request.path.endswith("/tags/list"):
            return None
        first = int(request.query.get("last", "0"))
        more = {"Link": f'</v2/sdxl/tags/list?last={first + 1000}>; rel="next"'}
        return as_json({"tags": [f"v{number}" for number in range(first, first + 1000)]}, headers=more)

    oci.web.faults.append(page)
    with capture_logs() as logs:
        assert registry_of(oci).discover() == ()
    assert ["more than 10000 tags" in log["reason"] for log in logs] == [True]
    assert {request.path for request in oci.web.seen} == {"/v2/sdxl/tags/list"}


def test_two_files_may_be_one_layer(oci: OciWeb) -> None:
    oci.push("v1", {"a": b"1", "sub/b": b"1"})
    registry = registry_of(oci)
    assert listed(registry) == ["a", "sub/b"]
    assert read(registry, SDXL, registry.resolve(SDXL, "v1"), "sub/b") == b"1"


SHA = f"sha256:{'a' * 64}"
KIT = {"mediaType": "application/vnd.kitops.modelkit.model.v1.tar+gzip", "digest": SHA, "size": 9}
PLAIN = "application/vnd.oci.image.layer.v1.tar+gzip"
TITLE = "org.opencontainers.image.title"


def titled(title: str, kind: str = "x", **more: Any) -> dict[str, Any]:
    return {"layers": [{"mediaType": kind, "digest": SHA, "size": 1, "annotations": {TITLE: title}} | more]}


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"manifests": []}, "index of manifests"),
        ({"layers": []}, "no files"),
        ({"layers": [{"mediaType": "x", "digest": SHA, "size": 1}]}, "has no name"),
        (
            {"layers": [KIT | {"mediaType": "application/vnd.kitops.modelkit.model.v1.tar+lz4"}]},
            "compressed with 'lz4'",
        ),
        ({"layers": [KIT | {"digest": "sha512:1"}]}, "expected a sha256"),
        ({"layers": [KIT | {"size": None}]}, "a size in bytes"),
        (titled("a", digest="sha512:1"), "expected a sha256"),
        (titled("a", size=None), "a size in bytes"),
        (titled("a", annotations=[5]), "expected an object"),
    ],
)
def test_a_manifest_that_is_not_a_model_is_refused_and_hides_no_other(
    oci: OciWeb, manifest: Mapping[str, Any], message: str
) -> None:
    oci.push("v1", {"a": b"1"})
    oci.put("v2", manifest)
    with pytest.raises(Invalid, match=message):
        registry_of(oci).resolve(SDXL, "v2")
    assert [each.version for each in registry_of(oci).discover()] == ["v1"]


def test_an_archive_that_is_a_file_is_a_file(oci: OciWeb) -> None:
    row = {"mediaType": PLAIN, "digest": SHA, "size": 1, "annotations": {TITLE: "tokenizer.tar.gz"}}
    oci.put("v1", {"layers": [row]})
    assert listed(registry_of(oci)) == ["tokenizer.tar.gz"]


def test_a_pin_that_is_not_a_digest_is_refused(oci: OciWeb) -> None:
    oci.push("v1", {"a": b"1"})
    registry = registry_of(oci)
    with pytest.raises(Invalid):
        registry.listing(SDXL, Revision(registry.resolve(SDXL, "v1").version, "v1"))
    with pytest.raises(NotFound):
        registry.listing(SDXL, Revision(registry.resolve(SDXL, "v1").version, SHA))


def test_a_digest_that_is_none_is_refused(oci: OciWeb) -> None:
    oci.push("v1", {"a": b"1"})
    oci.web.faults.append(lambda r: Reply(200, {"Docker-Content-Digest": "md5:1"}) if "/manifests/" in r.path else None)
    with pytest.raises(Invalid, match="md5:1"):
        registry_of(oci).resolve(SDXL, "v1")


def test_patterns_need_a_catalogue(oci: OciWeb) -> None:
    oci.push("v1", {"a": b"1"})
    oci.catalogue = {"repositories": ["sdxl", "a/b/c", 5, "other"]}
    assert {each.model for each in registry_of(oci, "sd*", "a/*").discover()} == {"sdxl"}
    oci.web.faults.append(lambda request: Reply(404) if request.path == "/v2/_catalog" else None)
    with pytest.raises(Refused) as caught:
        registry_of(oci, "sd*").discover()
    assert "without `*`" in caught.value.hint
    assert len(registry_of(oci, "sdxl", "none").discover()) == 1


def test_a_repository_without_tags_has_no_latest(oci: OciWeb) -> None:
    with pytest.raises(Unavailable):
        registry_of(oci).resolve(SDXL, "latest")


class Guard:
    """A proxy in front of a registry that requires a token of its own server for each scope."""

    def __init__(self, oci: OciWeb, realm: str) -> None:
        self.good: set[str] = set()
        self.challenge = f'Bearer realm="{realm}",service="s",scope="ignored"'
        self.oci = oci

    def __call__(self, request: Request) -> Reply | None:
        if request.headers.get("authorization", "").removeprefix("Bearer ") in self.good:
            return None
        return Reply(401, {"WWW-Authenticate": self.challenge})


class TokenServer:
    def __init__(self) -> None:
        self.answers: dict[str, Any] = {"expires_in": 300}
        self.given = 0
        self.web = Web(self.answer)

    def answer(self, request: Request) -> Reply:
        assert request.query == {"service": "s", "scope": "repository:sdxl:pull"}
        self.given += 1
        return as_json({"token": f"t{self.given}", **self.answers})


@pytest.fixture
def tokens() -> Iterator[TokenServer]:
    tokens = TokenServer()
    with tokens.web:
        yield tokens


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_token_is_used_until_it_ends(oci: OciWeb, tokens: TokenServer) -> None:
    oci.push("v1", {"a": b"1"})
    guard = Guard(oci, f"{tokens.web.origin}/token")
    guard.good = {f"t{number}" for number in range(10)}
    oci.web.faults.append(guard)
    clock = Clock()
    access = OciAuth(oci.web.origin, BasicAuth("u", Secret("p")), clock=clock)
    registry = OciRegistry(OciSettings(oci.web.origin, ("sdxl",)), http_to(oci.web, access))
    for _ in range(5):
        registry.resolve(SDXL, "v1")
    assert tokens.given == 1
    assert tokens.web.seen[0].headers["authorization"] == "Basic dTpw"
    clock.now = 295.0
    registry.resolve(SDXL, "v1")
    assert tokens.given == 2


@pytest.mark.parametrize("ends", [0, -1, float("nan"), float("inf"), 10**4000, "soon", None])
def test_a_token_without_an_expiry_is_valid_for_a_minute(oci: OciWeb, tokens: TokenServer, ends: object) -> None:
    oci.push("v1", {"a": b"1"})
    oci.web.faults.append(Guard(oci, f"{tokens.web.origin}/token"))
    oci.web.faults[-1].good = {"t1"}  # type: ignore[attr-defined]
    tokens.answers["expires_in"] = ends
    registry = registry_of(oci)
    for _ in range(2):
        registry.resolve(SDXL, "v1")
    assert tokens.given == 1


@pytest.mark.parametrize("rest", ["a" * 90_000, 'a="' * 30_000, "a=" * 45_000], ids=["letters", "quotes", "names"])
def test_a_long_challenge_takes_no_time(rest: str) -> None:
    began_s = time.process_time()
    with pytest.raises(Invalid):
        OciAuth("http://127.0.0.1:1", None).renew("repository:sdxl:pull", f"Bearer {rest}")
    assert time.process_time() - began_s < 5  # of the processor; two minutes where each letter is a beginning


def test_a_rejected_token_is_renewed_once_and_then_refused(oci: OciWeb, tokens: TokenServer) -> None:
    oci.push("v1", {"a": b"1"})
    guard = Guard(oci, f"{tokens.web.origin}/token")
    oci.web.faults.append(guard)
    registry = registry_of(oci)
    with pytest.raises(Refused):
        registry.resolve(SDXL, "v1")
    assert tokens.given == 1
    guard.good = {"t2"}
    registry.resolve(SDXL, "v1")


@pytest.mark.parametrize("answer", [{"token": ""}, {"token": 5}, {"token": "a b"}, {"token": None}])
def test_a_server_that_gives_no_token_is_named(oci: OciWeb, tokens: TokenServer, answer: Mapping[str, Any]) -> None:
    oci.web.faults.append(Guard(oci, f"{tokens.web.origin}/token"))
    tokens.answers |= answer
    with pytest.raises(Refused, match="issues no token"):
        registry_of(oci).resolve(SDXL, "v1")


@pytest.mark.parametrize(
    "realm", ["http://169.254.169.254/token", "file:///token", "", "http://u:p@127.0.0.1/", "http://[x", "token"]
)
def test_a_server_of_tokens_that_is_not_gone_to_is_refused(oci: OciWeb, realm: str) -> None:
    oci.web.faults.append(Guard(oci, realm))
    with pytest.raises(Invalid):
        registry_of(oci).resolve(SDXL, "v1")


def test_a_server_of_tokens_without_encryption_is_refused_by_a_registry_that_has_it() -> None:
    access = OciAuth("https://registry.test", BasicAuth("u", Secret("p")), lookup=lambda _: ["203.0.113.1"])
    with pytest.raises(Invalid, match="expected an https address"):
        access.renew("repository:sdxl:pull", 'Bearer realm="http://tokens.test/"')


def test_a_password_is_sent_after_a_challenge_and_only_once() -> None:
    access = OciAuth("http://127.0.0.1:1", BasicAuth("u", Secret("p")))
    assert access.headers("s") == {}
    assert access.renew("s", 'Basic realm="x"')
    assert access.headers("s") == {"Authorization": "Basic dTpw"}
    assert not access.renew("s", 'Basic realm="x"')
    assert not access.renew("s", "Negotiate")
    assert not OciAuth("http://127.0.0.1:1", None).renew("s", 'Basic realm="x"')


def test_a_file_is_requested_by_its_digest(oci: OciWeb) -> None:
    oci.push("v1", {"a": b"12345"})
    registry = registry_of(oci)
    revision = registry.resolve(SDXL, "v1")
    oci.push("v1", {"a": b"54321"})
    assert read(registry, SDXL, revision, "a") == b"12345"
    with registry.open(SDXL, revision, FilePath("a"), 5) as stream:
        assert stream.readinto(memoryview(bytearray(1))) == 0
