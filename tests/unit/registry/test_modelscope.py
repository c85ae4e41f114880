"""ModelScope: envelopes, listings that are cut off, files under review."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from structlog.testing import capture_logs
from syncd.artifact.names import FilePath, ModelName
from syncd.errors import Conflict, Invalid, NotFound, Refused, Unavailable
from syncd.http.auth import CookieAuth
from syncd.registry.settings import ModelScopeSettings
from syncd.registry.sources.modelscope import COOKIE, ModelScopeRegistry, explain
from syncd.secret import Secret

from tests.conformance.registry import read
from tests.emulators.modelscope import TOKEN, ModelScopeWeb, row
from tests.emulators.web import Reply, Request, Web, as_json
from tests.unit.registry.webs import http_to

CHAT = ModelName("acme/chat")
SAMPLE = json.loads(Path(__file__).with_name("samples").joinpath("modelscope_rest.json").read_text())["data"]


@pytest.fixture
def modelscope() -> Iterator[ModelScopeWeb]:
    modelscope = ModelScopeWeb()
    with modelscope.web:
        yield modelscope


def of(web: Web, *models: str, region: str = "") -> ModelScopeRegistry:
    http = http_to(web, CookieAuth(Secret(TOKEN), COOKIE), explain=explain)
    return ModelScopeRegistry(ModelScopeSettings(web.origin, models or ("acme/*",), region), http)


def paths(registry: ModelScopeRegistry, tag: str = "v1") -> list[str]:
    return [file.path for file in registry.listing(CHAT, registry.resolve(CHAT, tag))]


def captured(request: Request) -> Reply:
    """The captured answer to this request."""
    for each in SAMPLE:
        url = urlsplit(each["request"].partition(" ")[2])
        asked = {key.lower(): value.lower() for key, value in parse_qsl(url.query)}
        wanted = {key.lower(): value.lower() for key, value in request.query.items()}
        if url.path == request.path and (asked == wanted or url.path.startswith("/openapi")) and "json" in each:
            return as_json(each["json"], each["status"])
    return as_json({"Code": 10010205001, "Message": "not found"}, 404)


def test_captured_answers_are_understood() -> None:
    tiny = ModelName("acme/tiny-llm")
    with Web(captured) as web:
        registry = of(web)
        with capture_logs() as logs:
            assert registry.discover() == ()  # only one of its two tags was captured
        assert {log["version"] for log in logs} <= {"acme/gated-llm", "acme/tiny-llm"}
        listing = registry.listing(tiny, registry.resolve(tiny, "v1.0"))
    assert {file.path: file.size_bytes for file in listing} == {
        "README.md": 35,
        "config.json": 61,
        "model-00001-of-00002.safetensors": 1_000_120,
        "model-00002-of-00002.safetensors": 500_112,
        "model.safetensors.index.json": 175,
        "sub/notes.txt": 2,
    }
    assert all(file.sha256 for file in listing)


def test_models_of_an_owner_are_listed_page_by_page(modelscope: ModelScopeWeb) -> None:
    for number in range(230):
        modelscope.tag(f"acme/m{number:03}", "v1", {"a": b"1"})
    registry = of(modelscope.web, "acme/m2*", "acme/m001")
    assert [each.model for each in registry.discover()] == [*(f"acme/m{n}" for n in range(200, 230)), "acme/m001"]


def test_an_owner_with_more_models_than_are_listed_is_named(modelscope: ModelScopeWeb) -> None:
    page = {"models": [], "total_count": 10_000}
    modelscope.web.faults.append(lambda r: as_json({"data": page}) if r.path == "/openapi/v1/models" else None)
    with pytest.raises(Invalid, match="acme has more than 3000 models"):
        of(modelscope.web).discover()


def test_a_listing_that_would_be_cut_off_is_walked(modelscope: ModelScopeWeb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.registry.sources.modelscope.LISTING_MAX", 5)
    modelscope.listing_max = 5
    files = {f"{top}/{sub}/{n}": b"1" for top in "ab" for sub in "cd" for n in range(4)}
    modelscope.tag("acme/chat", "v1", {**files, "e": b"2"})
    assert paths(of(modelscope.web)) == sorted([*files, "e"])
    modelscope.tag("acme/chat", "v2", {str(number): b"1" for number in range(6)})
    with pytest.raises(Invalid, match="the top has 5 entries or more"):
        paths(of(modelscope.web), "v2")


def test_directories_without_end_are_refused(modelscope: ModelScopeWeb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.registry.sources.modelscope.LISTING_MAX", 2)
    monkeypatch.setattr("syncd.registry.sources.modelscope._DIRECTORIES_MAX", 20)
    modelscope.tag("acme/chat", "v1", {"a": b"1"})

    def nested(request: Request) -> Reply | None:
        if not request.path.endswith("/repo/files"):
            return None
        root = request.query.get("Root", "")
        more = [{"Path": f"{root}/x".strip("/"), "Type": "tree"}] * (1 if "Root" in request.query else 2)
        return as_json({"Code": 200, "Data": {"Files": more}})

    modelscope.web.faults.append(nested)
    with pytest.raises(Invalid, match="more than 20 directories"):
        paths(of(modelscope.web))


def test_a_branch_is_not_a_version(modelscope: ModelScopeWeb) -> None:
    modelscope.tag("acme/chat", "v1", {"a": b"1"})
    with pytest.raises(NotFound) as caught:
        of(modelscope.web).resolve(CHAT, "master")
    assert "a branch moves" in caught.value.hint


def test_a_model_without_tags_has_no_latest(modelscope: ModelScopeWeb) -> None:
    modelscope.tag("acme/chat", "v1", {"a": b"1"}, in_check=True)
    with pytest.raises(Unavailable, match="no version yet"):
        of(modelscope.web).resolve(CHAT, "latest")
    with pytest.raises(Unavailable, match="a is under review"):
        of(modelscope.web).resolve(CHAT, "v1")


def test_a_checked_tag_is_not_checked_again(modelscope: ModelScopeWeb) -> None:
    modelscope.tag("acme/chat", "v1", {"a": b"1"})
    registry = of(modelscope.web)
    for _ in range(3):
        assert len(registry.discover()) == 1
    assert sum(request.path.endswith("/repo/files") for request in modelscope.web.seen) == 1


def test_files_are_requested_from_the_region_and_listings_are_not(modelscope: ModelScopeWeb) -> None:
    modelscope.tag("acme/chat", "v1", {"w.safetensors": b"12345678" * 100})
    for region in ("", "cn-hangzhou"):
        modelscope.web.seen.clear()
        registry = of(modelscope.web, region=region)
        assert read(registry, CHAT, registry.resolve(CHAT, "v1"), "w.safetensors", 8) == b"12345678" * 99
        regions = {r.path.rpartition("/")[2]: r.headers.get("x-aliyun-region-id") for r in modelscope.web.seen}
        assert regions["repo"] == (region or None)
        assert regions["files"] is None


def test_a_temporary_refusal_is_retried_once(modelscope: ModelScopeWeb) -> None:
    modelscope.tag("acme/chat", "v1", {"a": b"1"})
    refusals = [Reply(403)]
    modelscope.web.faults.append(lambda r: refusals.pop() if "files" in r.path and refusals else None)
    assert paths(of(modelscope.web)) == ["a"]
    refusals += [Reply(403), Reply(403)]
    with pytest.raises(Refused):
        of(modelscope.web).resolve(CHAT, "v1")


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        ({"Code": 10010205001, "Message": "gone"}, NotFound, "gone"),
        ({"Code": 500, "Message": "busy"}, Unavailable, "500 busy"),
        ({"Code": 200, "Data": {"Files": [{"Path": "a", "Size": 1, "Sha256": "x"}]}}, Invalid, "x"),
        ({"Code": 200, "Data": {"Files": [{"Path": "a", "Size": -1, "Sha256": "0" * 64}]}}, Invalid, "a size in bytes"),
        ({"Code": 200, "Data": {"Files": [{"Path": "../a", "Size": 1, "Sha256": "0" * 64}]}}, Invalid, r"\.\./a"),
    ],
)
def test_the_code_of_an_envelope_overrides_its_status(
    modelscope: ModelScopeWeb, answer: Mapping[str, Any], kind: type[Exception], message: str
) -> None:
    modelscope.tag("acme/chat", "v1", {"a": b"1"})
    modelscope.web.faults.append(lambda r: as_json(answer) if r.path.endswith("/repo/files") else None)
    with pytest.raises(kind, match=message):
        of(modelscope.web).resolve(CHAT, "v1")


def test_a_digest_in_capitals_is_a_digest(modelscope: ModelScopeWeb) -> None:
    modelscope.tag("acme/chat", "v1", {"a": b"1"})
    entry = row("a", b"1", modelscope.models["acme/chat"].tags["v1"])
    loud = as_json({"Code": 200, "Data": {"Files": [entry | {"Sha256": entry["Sha256"].upper()}]}})
    modelscope.web.faults.append(lambda r: loud if r.path.endswith("/repo/files") else None)
    (file,) = of(modelscope.web).listing(CHAT, of(modelscope.web).resolve(CHAT, "v1"))
    assert file.sha256 is not None
    assert file.sha256.hex == entry["Sha256"]


def test_a_tag_with_a_bad_name_and_a_model_with_one_hide_no_other(modelscope: ModelScopeWeb) -> None:
    modelscope.tag("acme/chat", "v1", {"a": b"1"})
    modelscope.tag("acme/chat", "../v2", {"a": b"1"})
    modelscope.tag("acme/a/b", "v1", {"a": b"1"})
    with capture_logs() as logs:
        assert [(each.model, each.version) for each in of(modelscope.web, "acme/*").discover()] == [("acme/chat", "v1")]
    assert "acme/chat@../v2" in {log["version"] for log in logs}


def test_a_missing_file_reported_with_status_200_is_not_found(modelscope: ModelScopeWeb) -> None:
    modelscope.tag("acme/chat", "v1", {"a": b"1"})
    registry = of(modelscope.web)
    revision = registry.resolve(CHAT, "v1")
    del modelscope.models["acme/chat"].tags["v1"].files["a"]
    with pytest.raises(Conflict, match="expected 1 bytes as listed"):
        registry.open(CHAT, revision, FilePath("a"))
