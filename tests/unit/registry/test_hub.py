"""Hugging Face Hub: commits, branches, owners, git's own digests, and refusals."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs
from syncd.artifact.names import FilePath, ModelName
from syncd.errors import Conflict, Corrupt, Invalid, NotFound, Refused, Unavailable
from syncd.http.auth import BearerAuth, NoAuth
from syncd.registry.settings import HubSettings
from syncd.registry.sources.huggingface import HubRegistry, explain
from syncd.secret import Secret
from syncd.values.source import Revision

from tests.conformance.registry import read
from tests.emulators.hub import TOKEN, HubWeb, row
from tests.emulators.web import Reply, as_json
from tests.unit.registry.webs import http_to

CHAT = ModelName("acme/chat")
FILES = {"config.json": b"{}", "sub/w.safetensors": b"w" * 1000, "merges.txt": b"m" * 100}


@pytest.fixture
def hub() -> Iterator[HubWeb]:
    hub = HubWeb()
    with hub.web:
        yield hub


def registry_of(hub: HubWeb, *models: str, branch: str = "", token: str = TOKEN) -> HubRegistry:
    access = BearerAuth(Secret(token)) if token else NoAuth()
    return HubRegistry(
        HubSettings(hub.web.origin, models or ("acme/*",), branch), http_to(hub.web, access, explain=explain)
    )


def test_a_branch_is_resolved_to_its_commit_by_name(hub: HubWeb) -> None:
    first = hub.commit("acme/chat", FILES)
    registry = registry_of(hub)
    assert registry.resolve(CHAT, "main") == Revision(registry.resolve(CHAT, first).version, first)
    second = hub.commit("acme/chat", {"other": b"1"})
    assert registry.resolve(CHAT, "main").version == second
    assert registry.resolve(CHAT, first).pin == first  # an older commit is still there


def test_the_head_of_a_branch_is_a_version_if_configured(hub: HubWeb) -> None:
    hub.commit("acme/chat", FILES, "v1")
    head = hub.commit("acme/chat", {"other": b"1"})
    assert [each.version for each in registry_of(hub).discover()] == ["v1"]
    assert [each.version for each in registry_of(hub, branch="main").discover()] == ["v1", head]
    assert registry_of(hub, branch="main").resolve(CHAT, "latest").pin == head


def test_a_head_that_has_a_tag_is_known_by_the_tag_alone(hub: HubWeb) -> None:
    hub.commit("acme/chat", FILES, "v1")
    assert [each.version for each in registry_of(hub, branch="main").discover()] == ["v1"]


def test_all_models_of_an_owner_that_fit_are_discovered(hub: HubWeb) -> None:
    for model in ("acme/chat", "acme/chat-xl", "acme/draw", "other/chat"):
        hub.commit(model, FILES, "v1")
    assert {each.model for each in registry_of(hub, "acme/chat*").discover()} == {"acme/chat", "acme/chat-xl"}
    assert len(registry_of(hub, "acme/*", "acme/chat", "other/chat").discover()) == 4


def test_the_date_of_a_commit_is_fetched_once(hub: HubWeb) -> None:
    hub.commit("acme/chat", FILES, "v1")
    registry = registry_of(hub)
    for _ in range(3):
        registry.discover()
    assert sum("/revision/" in request.path for request in hub.web.seen) == 1


def test_a_bad_tag_or_model_hides_no_other(hub: HubWeb) -> None:
    hub.commit("acme/chat", FILES, "v1")
    hub.repositories["acme/chat"].tags |= {"v 2": hub.repositories["acme/chat"].tags["v1"], "latest": "0" * 40}
    registry = registry_of(hub, "acme/chat", "acme/none", "gone")
    with capture_logs() as logs:
        assert [each.version for each in registry.discover()] == ["v1"]
        registry.discover()
    assert sorted(entry["version"] for entry in logs) == ["acme/chat@latest", "acme/chat@v 2", "acme/none", "gone"]


def test_large_files_have_their_sha256_and_others_none(hub: HubWeb) -> None:
    hub.commit("acme/chat", FILES, "v1")
    registry = registry_of(hub)
    listing = registry.listing(CHAT, registry.resolve(CHAT, "v1"))
    assert {file.path: file.sha256 is not None for file in listing} == {
        "config.json": False, "merges.txt": False, "sub/w.safetensors": True,
    }  # fmt: skip


def test_a_small_file_that_is_not_gits_is_corrupt(hub: HubWeb) -> None:
    hub.commit("acme/chat", FILES, "v1")
    registry = registry_of(hub)
    revision = registry.resolve(CHAT, "v1")
    hub.web.faults.append(lambda request: Reply(200, {}, b"M" * 100) if "/resolve/" in request.path else None)
    with pytest.raises(Corrupt, match="git's sha1"):
        read(registry, CHAT, revision, "merges.txt")
    assert read(registry, CHAT, revision, "merges.txt", 50) == b"M" * 50  # a partial read is verified by its reader


def test_a_large_file_whose_sizes_differ_is_refused(hub: HubWeb) -> None:
    hub.commit("acme/chat", FILES, "v1")
    registry = registry_of(hub)
    revision = registry.resolve(CHAT, "v1")
    lying = row("w.safetensors", b"w" * 10) | {"size": 11}
    for bad in (lying, {**lying, "lfs": 5}, {**row("c", b"1"), "oid": "x"}, {**row("c", b"1"), "size": -1}):
        hub.web.faults.append(lambda request, bad=bad: as_json([bad]) if "/tree/" in request.path else None)  # type: ignore[misc]
        with pytest.raises(Invalid):
            registry.listing(CHAT, revision)


def test_a_commit_is_answered_with_itself_or_refused(hub: HubWeb) -> None:
    commit = hub.commit("acme/chat", FILES)
    registry = registry_of(hub)
    hub.web.faults.append(lambda request: as_json({"sha": "0" * 40}) if "/revision/" in request.path else None)
    with pytest.raises(Conflict, match=commit):
        registry.resolve(CHAT, commit)
    with pytest.raises(Invalid):
        registry.listing(CHAT, Revision(registry.resolve(CHAT, "main").version, "main"))


def test_a_ref_that_names_no_commit_is_refused(hub: HubWeb) -> None:
    hub.commit("acme/chat", FILES)
    hub.repositories["acme/chat"].tags["v1"] = "../../x"
    with pytest.raises(Invalid, match="not a commit"):
        registry_of(hub).resolve(CHAT, "v1")


def test_a_model_without_a_version_has_no_latest(hub: HubWeb) -> None:
    hub.commit("acme/chat", FILES)
    with pytest.raises(Unavailable) as caught:
        registry_of(hub).resolve(CHAT, "latest")
    assert "branch" in caught.value.hint


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "RepoNotFound", Refused),  # private or not there: a Hub does not say
        (404, "RepoNotFound", NotFound),
        (403, "GatedRepo", Refused),
        (404, "RevisionNotFound", NotFound),
        (404, "EntryNotFound", NotFound),
        (500, "", Unavailable),
    ],
)
def test_the_hubs_error_headers_count(hub: HubWeb, status: int, code: str, kind: type[Exception]) -> None:
    hub.web.faults.append(lambda _: Reply(status, {"X-Error-Code": code, "X-Error-Message": "because"}))
    with pytest.raises(kind) as caught:
        registry_of(hub).resolve(CHAT, "v1")
    assert not code or code in str(caught.value)


def test_a_rate_limit_has_its_end(hub: HubWeb) -> None:
    hub.web.faults.append(lambda _: Reply(429, {"RateLimit": '"api";r=0;t=55'}))
    with pytest.raises(Unavailable) as caught:
        registry_of(hub).resolve(CHAT, "v1")
    assert caught.value.retry_after_s == 56
    assert "token" in caught.value.hint


def test_a_private_model_is_not_visible(hub: HubWeb) -> None:
    hub.commit("acme/chat", FILES, "v1")
    with pytest.raises(Refused) as caught:
        registry_of(hub, token="").resolve(CHAT, "v1")
    assert "token" in caught.value.hint


def test_a_path_is_quoted_in_its_address(hub: HubWeb) -> None:
    name = "a b/ü#%2f?.txt"
    hub.commit("acme/chat", {name: b"1", "x.safetensors": b""}, "v1")
    registry = registry_of(hub)
    revision = registry.resolve(CHAT, "v1")
    assert read(registry, CHAT, revision, name) == b"1"
    with pytest.raises(Invalid):
        registry.open(CHAT, revision, FilePath(name), 2)
