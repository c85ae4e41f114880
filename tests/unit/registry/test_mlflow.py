"""MLflow: numbers and aliases, READY, the location of artifacts, and their changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs
from syncd.artifact.names import ModelName
from syncd.errors import Conflict, Invalid, NotFound, Refused, Unavailable
from syncd.http.auth import BasicAuth
from syncd.registry.settings import MlflowSettings
from syncd.registry.sources.mlflow import MlflowRegistry, explain
from syncd.secret import Secret
from syncd.values.source import Revision

from tests.conformance.registry import read
from tests.emulators.mlflow import PASSWORD, USER, MlflowWeb, as_tags, error
from tests.emulators.web import as_json
from tests.unit.registry.webs import http_to

IRIS = ModelName("iris")
FILES = {"MLmodel": b"flavors:", "data/model.safetensors": b"w" * 1000, "empty": b""}


@pytest.fixture
def mlflow() -> Iterator[MlflowWeb]:
    mlflow = MlflowWeb()
    with mlflow.web:
        yield mlflow


def registry_of(
    mlflow: MlflowWeb, *models: str, password: str = PASSWORD, ready_file: str = "MLmodel", model_tags: bool = False
) -> MlflowRegistry:
    http = http_to(mlflow.web, BasicAuth(USER, Secret(password)), explain=explain)
    return MlflowRegistry(MlflowSettings(mlflow.web.origin, models or ("*",), ready_file, model_tags), http)


def test_an_alias_is_a_ref_and_moves(mlflow: MlflowWeb) -> None:
    mlflow.register("iris", "1", FILES)
    mlflow.register("iris", "2", {**FILES, "more": b"1"})
    mlflow.aliases["iris", "champion"] = "1"
    registry = registry_of(mlflow)
    assert registry.resolve(IRIS, "champion") == registry.resolve(IRIS, "1")
    mlflow.aliases["iris", "champion"] = "2"
    assert registry.resolve(IRIS, "champion").version == "2"
    with pytest.raises(NotFound, match="alias zzz not found"):
        registry.resolve(IRIS, "zzz")


def test_versions_of_every_page_are_ordered_by_when_they_were_made(mlflow: MlflowWeb) -> None:
    for number in ("1", "2", "3", "10", "11"):
        mlflow.register("iris", number, {**FILES, number: b""})
    for model in ("a", "b", "c"):
        mlflow.register(model, "1", FILES)
    registry = registry_of(mlflow)
    found = registry.discover()
    assert [each.version for each in found if each.model == "iris"] == ["1", "2", "3", "10", "11"]
    assert {each.model for each in found} == {"a", "b", "c", "iris"}
    assert registry.resolve(IRIS, "latest").version == "11"


def test_tags_of_versions_are_returned_and_those_of_models_if_configured(mlflow: MlflowWeb) -> None:
    mlflow.register("iris", "1", FILES).row |= as_tags({"stage": "approved", "note": ""})
    mlflow.register("iris", "2", FILES)
    mlflow.model_tags["iris"] = {"team": "risk"}
    plain = registry_of(mlflow).discover(IRIS)
    assert [(each.version, each.tags, each.model_tags) for each in plain] == [
        ("1", {("stage", "approved"), ("note", "")}, frozenset()),
        ("2", frozenset(), frozenset()),
    ]
    assert "registered-models/get" not in {request.path.rpartition("mlflow/")[2] for request in mlflow.web.seen}
    asked = registry_of(mlflow, model_tags=True)
    assert [each.model_tags for each in asked.discover(IRIS)] == [{("team", "risk")}] * 2
    assert asked.discover(ModelName("other")) == ()


@pytest.mark.parametrize("tags", [[{"key": 1}], ["stage"], {"stage": "approved"}, [{"value": "approved"}]])
def test_a_version_whose_tags_make_no_sense_is_left_out_by_name(mlflow: MlflowWeb, tags: object) -> None:
    mlflow.register("iris", "1", FILES).row["tags"] = tags
    mlflow.register("iris", "2", FILES)
    with capture_logs() as logs:
        assert [each.version for each in registry_of(mlflow).discover(IRIS)] == ["2"]
    assert [log["version"] for log in logs] == ["iris@1"]


def test_a_number_that_is_used_again_is_another_version(mlflow: MlflowWeb) -> None:
    mlflow.register("iris", "1", FILES)
    registry = registry_of(mlflow)
    revision = registry.resolve(IRIS, "1")
    mlflow.register("iris", "1", FILES)  # the model was deleted and made again: same names, same sizes
    assert registry.resolve(IRIS, "1").pin != revision.pin
    with pytest.raises(Conflict, match="as pinned"):
        registry.listing(IRIS, revision)


def test_a_version_is_complete_when_its_ready_file_exists(mlflow: MlflowWeb) -> None:
    mlflow.register("iris", "1", {"weights": b"1"})
    with pytest.raises(Unavailable, match="has no MLmodel yet"):
        registry_of(mlflow).resolve(IRIS, "1")
    assert registry_of(mlflow, ready_file="").resolve(IRIS, "1").version == "1"
    mlflow.register("iris", "2", {})
    with pytest.raises(Unavailable, match="has no file yet"):
        registry_of(mlflow, ready_file="").resolve(IRIS, "2")


def test_a_logged_model_must_be_ready_too(mlflow: MlflowWeb) -> None:
    version = mlflow.register("iris", "1", FILES)
    identity = version.row["source"].removeprefix("models:/")
    mlflow.logged[identity] = "LOGGED_MODEL_PENDING"
    with pytest.raises(Unavailable, match="LOGGED_MODEL_PENDING"):
        registry_of(mlflow).resolve(IRIS, "1")


def test_a_version_whose_logged_model_was_deleted_is_not_found_with_a_hint(mlflow: MlflowWeb) -> None:
    version = mlflow.register("iris", "1", FILES)
    identity = version.row["source"].removeprefix("models:/")
    del mlflow.logged[identity]
    with pytest.raises(NotFound, match=f"iris@1: its logged model {identity} was deleted") as told:
        registry_of(mlflow).resolve(IRIS, "1")
    assert told.value.hint == "register a version of a logged model that exists, and delete this version in MLflow"


def test_a_version_that_is_ready_no_more_is_a_conflict(mlflow: MlflowWeb) -> None:
    version = mlflow.register("iris", "1", FILES)
    registry = registry_of(mlflow)
    revision = registry.resolve(IRIS, "1")
    version.row["status"] = "FAILED_REGISTRATION"
    with pytest.raises(Conflict, match="FAILED_REGISTRATION"):
        registry.listing(IRIS, revision)
    del mlflow.versions["iris", "1"]
    with pytest.raises(NotFound):
        registry.listing(IRIS, revision)


def test_files_are_found_in_every_directory_and_have_no_digest(mlflow: MlflowWeb) -> None:
    mlflow.register("iris", "1", FILES)
    registry = registry_of(mlflow)
    listing = registry.listing(IRIS, registry.resolve(IRIS, "1"))
    assert {file.path: file.size_bytes for file in listing} == {path: len(data) for path, data in FILES.items()}
    assert all(file.sha256 is None for file in listing)


def test_a_size_that_is_left_out_is_nought(mlflow: MlflowWeb) -> None:
    mlflow.register("iris", "1", FILES)
    bare = as_json({"files": [{"path": "MLmodel", "is_dir": False}]})
    mlflow.web.faults.append(lambda request: bare if request.query.get("path") else None)
    registry = registry_of(mlflow)
    assert registry.listing(IRIS, registry.resolve(IRIS, "1"))[0].size_bytes == 0


@pytest.mark.parametrize("scheme", ["s3://bucket/", "file:///", "oss://b/", "mlflow-artifacts://other:5000/", "dbfs:/"])
def test_artifacts_that_the_server_does_not_hand_out_are_refused_by_place(mlflow: MlflowWeb, scheme: str) -> None:
    mlflow.register("iris", "1", FILES)
    mlflow.scheme = scheme
    with pytest.raises(Invalid) as caught:
        registry_of(mlflow).resolve(IRIS, "1")
    assert scheme.partition(":")[0] in caught.value.message
    assert "--serve-artifacts" in caught.value.hint


@pytest.mark.parametrize("root", ["0/../../etc", "0/%2e%2e/x", "", "a//b", "a\\b", "a/b?c=d", "a/b#c", "a\u202eb"])
def test_a_root_that_leaves_the_artifacts_is_refused(mlflow: MlflowWeb, root: str) -> None:
    mlflow.register("iris", "1", FILES).root = root
    with pytest.raises(Invalid, match="not a directory of artifacts"):
        registry_of(mlflow).resolve(IRIS, "1")


@pytest.mark.parametrize("root", ["Team Models/0/my model", "团队/模型", "a b/ü+x=1@2", "models/m-1/artifacts"])
@pytest.mark.parametrize("artifacts", ["proxied", "signed"])
def test_a_root_with_spaces_and_letters_of_any_script_is_read(mlflow: MlflowWeb, root: str, artifacts: str) -> None:
    if artifacts == "signed":
        mlflow.artifacts = "signed"
    version = mlflow.register("iris", "1", FILES)
    mlflow.files |= {f"{root}/{path}": data for path, data in FILES.items()}
    version.root = root
    registry = registry_of(mlflow)
    revision = registry.resolve(IRIS, "1")
    assert {file.path: read(registry, IRIS, revision, file.path) for file in registry.listing(IRIS, revision)} == FILES


def test_a_server_without_signed_addresses_is_queried_once(mlflow: MlflowWeb) -> None:
    mlflow.register("iris", "1", FILES)
    registry = registry_of(mlflow)
    revision = registry.resolve(IRIS, "1")
    for _ in range(3):
        assert read(registry, IRIS, revision, "MLmodel") == FILES["MLmodel"]
    assert sum("/presigned/" in request.path for request in mlflow.web.seen) == 1


def test_the_headers_of_a_signed_address_go_there(mlflow: MlflowWeb) -> None:
    mlflow.artifacts = "signed"
    mlflow.register("iris", "1", FILES)
    registry = registry_of(mlflow)
    assert read(registry, IRIS, registry.resolve(IRIS, "1"), "data/model.safetensors", 990) == b"w" * 10
    assert sum(request.path.startswith("/bucket/") for request in mlflow.web.seen) == 1


@pytest.mark.parametrize(
    "headers", [{"x-a": "\u00e9"}, {"x-a": "1\r\nHost: other"}, {"x-a": 5}, ["x"], {"\ud800": "1"}]
)
def test_a_signed_address_with_headers_that_cannot_be_sent_is_refused(mlflow: MlflowWeb, headers: object) -> None:
    mlflow.register("iris", "1", FILES)
    registry = registry_of(mlflow)
    revision = registry.resolve(IRIS, "1")
    signed = as_json({"url": f"{mlflow.web.origin}/bucket/x", "headers": headers})
    mlflow.web.faults.append(lambda request: signed if "/presigned/" in request.path else None)
    with pytest.raises(Invalid, match="signed address"):
        read(registry, IRIS, revision, "MLmodel")


def test_a_source_that_is_not_unicode_is_pinned(mlflow: MlflowWeb) -> None:
    mlflow.register("iris", "1", FILES).row["source"] = "s3://b/\ud800"
    registry = registry_of(mlflow)
    assert registry.resolve(IRIS, "1") == registry.resolve(IRIS, "1")


@pytest.mark.parametrize("token", ["\u00e9 &=", "\ud800", 5, ["x"]])
def test_pages_without_end_are_refused_whatever_leads_to_them(
    mlflow: MlflowWeb, token: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncd.registry.sources.mlflow.FILES_MAX", 10)
    row = mlflow.register("iris", "1", FILES).row
    page = as_json({"model_versions": [row] * 3, "next_page_token": token})
    mlflow.web.faults.append(lambda request: page if request.path.endswith("model-versions/search") else None)
    with capture_logs() as logs:
        assert registry_of(mlflow).discover(IRIS) == ()
    assert [log["version"] for log in logs] == ["iris"]
    assert len(mlflow.web.seen) <= 4


def test_a_wrong_password_is_refused_not_absent(mlflow: MlflowWeb) -> None:
    mlflow.register("iris", "1", FILES)
    for call in (
        registry_of(mlflow, password="x").discover,
        lambda: registry_of(mlflow, password="x").resolve(IRIS, "1"),
    ):
        with pytest.raises(Refused):
            call()


def test_mlflows_own_codes_are_heard(mlflow: MlflowWeb) -> None:
    mlflow.register("iris", "1", FILES)
    mlflow.web.faults.append(lambda _: error(403, "PERMISSION_DENIED", "no"))
    with pytest.raises(Refused, match="PERMISSION_DENIED"):
        registry_of(mlflow).resolve(IRIS, "1")
    mlflow.web.faults.append(lambda _: as_json(["not", "theirs"], 500))
    with pytest.raises(Unavailable):
        registry_of(mlflow).resolve(IRIS, "1")


def test_a_server_that_answers_another_version_is_not_believed(mlflow: MlflowWeb) -> None:
    row = mlflow.register("iris", "1", FILES).row
    other = as_json({"model_version": {**row, "version": "2"}})
    mlflow.web.faults.append(lambda request: other if request.path.endswith("model-versions/get") else None)
    with pytest.raises(Conflict, match="iris@2"):
        registry_of(mlflow).resolve(IRIS, "1")


def test_a_bad_name_hides_no_other(mlflow: MlflowWeb) -> None:
    mlflow.register("iris", "1", FILES)
    mlflow.register("a b", "1", FILES)
    mlflow.register("iris", "1 2", FILES)
    with capture_logs() as logs:
        assert [(each.model, each.version) for each in registry_of(mlflow).discover()] == [("iris", "1")]
    assert sorted(entry["version"] for entry in logs) == ["a b", "iris@1 2"]


def test_pages_without_end_are_refused(mlflow: MlflowWeb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.registry.sources.mlflow._PAGES_MAX", 5)
    mlflow.web.faults.append(lambda _: as_json({"registered_models": [], "next_page_token": "x"}))
    with pytest.raises(Invalid, match="does not end"):
        registry_of(mlflow).discover()


def test_an_unselected_model_is_not_queried(mlflow: MlflowWeb) -> None:
    mlflow.register("iris", "1", FILES)
    with pytest.raises(NotFound, match="not among"):
        registry_of(mlflow, "other").resolve(IRIS, "1")
    assert mlflow.web.seen == []
    assert registry_of(mlflow, "other").discover() == ()


def test_a_pin_of_another_time_is_a_conflict(mlflow: MlflowWeb) -> None:
    mlflow.register("iris", "1", FILES)
    registry = registry_of(mlflow)
    with pytest.raises(Conflict):
        registry.listing(IRIS, Revision(registry.resolve(IRIS, "1").version, "0" * 64))
