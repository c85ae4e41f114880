"""PAI: approval, addresses of buckets, duplicate names, and the SDK's own failures."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from syncd.artifact.names import FilePath, ModelName
from syncd.config import load
from syncd.errors import Conflict, Invalid, NotFound, Refused, SyncdError, Unavailable
from syncd.localcloud.server import LocalCloud
from syncd.registry.settings import AccessKey
from syncd.registry.sources.pai import PaiRegistry
from syncd.registry.sources.pai_workspace import SdkWorkspace
from syncd.secret import Secret
from syncd.wiring_registries import registries_of

from tests.conformance.registry import read
from tests.emulators.pai import PaiWeb, refused
from tests.emulators.web import Reply, Request, as_json
from tests.support.clouds import KEY_ID, REGION, RawBucket
from tests.unit.registry.webs import ONCE
from tests.unit.registry.workspaces import KEY, registry_of, settings_of

QWEN = ModelName("qwen-tiny")
SAMPLE = json.loads(Path(__file__).with_name("samples").joinpath("pai_models.json").read_text())["data"]
EXAMPLE = Path(__file__).parents[3] / "config.example.toml"


@pytest.fixture
def pai() -> Iterator[PaiWeb]:
    made = PaiWeb()
    with made.web:
        yield made


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RawBucket]:
    with LocalCloud(tmp_path_factory.mktemp("cloud"), (REGION,)) as cloud:
        made = RawBucket(cloud.endpoint(REGION))
        made.write("out/1/config.json", b"{}")
        made.write("out/1/", b"")
        made.write("out/1/sub/w.bin.tmp", b"left behind")
        made.write("elsewhere/w.bin", b"1")
        yield made
        made.client.session.session.close()


def uri(bucket: RawBucket, prefix: str = "out/1/") -> str:
    return f"oss://{bucket.name}.oss-{REGION}-internal.aliyuncs.com/{prefix}"


def shown(registry: PaiRegistry) -> list[tuple[str, str]]:
    return [(each.model, each.version) for each in registry.discover()]


def test_the_vendors_client_reads_answers_of_the_shape_that_its_documents_show(pai: PaiWeb, bucket: RawBucket) -> None:
    def constructed(request: Request) -> Reply:
        parts = request.path.split("/")[4:]
        call = {0: "ListModels", 2: "ListModelVersions", 3: "GetModelVersion"}[len(parts)]
        text = json.dumps(SAMPLE[call]["json"]).replace("mybucket.oss-cn-hangzhou", f"{bucket.name}.oss-{REGION}")
        return Reply(
            200, {"Content-Type": "application/json"}, text.replace("models/qwen-tiny/0.2.0/", "out/1/").encode()
        )

    pai.web.faults.append(constructed)
    registry = registry_of(pai, bucket)
    assert shown(registry) == [("qwen-tiny", "0.2.0")]
    revision = registry.resolve(QWEN, "latest")
    assert [file.path for file in registry.listing(QWEN, revision)] == ["config.json"]
    assert read(registry, QWEN, revision, "config.json") == b"{}"


def test_only_approved_versions_are_listed(pai: PaiWeb, bucket: RawBucket) -> None:
    registry = registry_of(pai, bucket)
    for number, status in enumerate(("Approved", "Pending", "Rejected", "Approved"), 1):
        pai.register(QWEN, f"0.{number}.0", uri(bucket), status)
    assert shown(registry) == [(QWEN, "0.1.0"), (QWEN, "0.4.0")]
    assert {r.query.get("ApprovalStatus") for r in pai.web.seen if r.path.endswith("/versions")} == {"Approved"}
    with pytest.raises(Unavailable, match=r"0\.2\.0 has status Pending") as caught:
        registry.resolve(QWEN, "0.2.0")
    assert "approve" in caught.value.hint
    with pytest.raises(Invalid, match=r"0\.3\.0 was rejected"):
        registry.resolve(QWEN, "0.3.0")
    pai.register(QWEN, "0.2.0", uri(bucket))
    assert registry.resolve(QWEN, "0.2.0").pin == registry.resolve(QWEN, "0.1.0").pin


def test_a_model_without_an_approved_version_has_no_latest(pai: PaiWeb, bucket: RawBucket) -> None:
    pai.register(QWEN, "0.1.0", uri(bucket), "Pending")
    with pytest.raises(Unavailable, match="no approved version"):
        registry_of(pai, bucket).resolve(QWEN, "latest")


def test_pages_are_read_to_the_end_whatever_their_size(pai: PaiWeb, bucket: RawBucket) -> None:
    pai.page_max = 3
    for number in range(8):
        pai.register(f"m{number}", "0.1.0", uri(bucket))
        pai.register("m0", f"0.2.{number}", uri(bucket))
    assert len(shown(registry_of(pai, bucket))) == 16
    assert len(shown(registry_of(pai, bucket, "m0", "m3"))) == 10


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("oss://{bucket}.oss-cn-elsewhere.aliyuncs.com/out/1/", "cn-elsewhere"),
        ("oss://{bucket}.oss-{region}.aliyuncs.com/", "not a prefix of a bucket"),
        ("oss://{bucket}.oss-{region}.aliyuncs.com/../other/", "../other"),
        ("oss://{bucket}.oss-{region}.aliyuncs.com//etc/", "/etc"),
        ("oss://{bucket}.evil.example.com/out/1/", "evil.example.com"),
        ("oss://{bucket}.oss-{region}.aliyuncs.com.evil.example.com/out/1/", "evil"),
        ("oss://user@{bucket}.oss-{region}.aliyuncs.com/out/1/", "user@"),
        ("oss://169.254.169.254/out/1/", "169.254.169.254"),
        ("https://example.com/model.tar.gz", "model.tar.gz"),
        ("", "''"),
    ],
)
def test_an_address_that_is_not_a_prefix_in_the_region_is_refused_by_name_and_hides_no_other(
    pai: PaiWeb, bucket: RawBucket, given: str, message: str
) -> None:
    pai.register(QWEN, "0.1.0", given.format(bucket=bucket.name, region=REGION))
    pai.register(QWEN, "0.2.0", uri(bucket))
    registry = registry_of(pai, bucket)
    with pytest.raises(Invalid) as caught:
        registry.resolve(QWEN, "0.1.0")
    assert message in caught.value.message
    with capture_logs() as logs:
        assert shown(registry) == [(QWEN, "0.2.0")]
    assert [log["version"] for log in logs] == [f"{QWEN}@0.1.0"]


def test_an_empty_prefix_is_not_a_version_yet(pai: PaiWeb, bucket: RawBucket) -> None:
    pai.register(QWEN, "0.1.0", uri(bucket, "nothing/here/"))
    with pytest.raises(Unavailable, match="has no files"):
        registry_of(pai, bucket).resolve(QWEN, "0.1.0")


def test_an_object_with_a_bad_name_is_refused_by_name(pai: PaiWeb, bucket: RawBucket) -> None:
    bucket.write("bad/a\\evil", b"1")
    pai.register(QWEN, "0.1.0", uri(bucket, "bad/"))
    with pytest.raises(Invalid, match="evil"):
        registry_of(pai, bucket).resolve(QWEN, "0.1.0")


def test_a_version_that_is_led_elsewhere_is_a_conflict(pai: PaiWeb, bucket: RawBucket) -> None:
    row = pai.register(QWEN, "0.1.0", uri(bucket))
    registry = registry_of(pai, bucket)
    revision = registry.resolve(QWEN, "0.1.0")
    row["Uri"] = uri(bucket, "elsewhere/")
    with pytest.raises(Conflict):
        registry.listing(QWEN, revision)


def test_two_models_of_one_name_are_refused_and_names_that_are_none_hide_no_other(
    pai: PaiWeb, bucket: RawBucket
) -> None:
    for name in (QWEN, "other", "no name"):
        pai.register(name, "0.1.0", uri(bucket))
    pai.add_model(QWEN)
    registry = registry_of(pai, bucket, "*")
    with pytest.raises(Invalid, match="2 models called qwen-tiny"):
        registry.resolve(QWEN, "0.1.0")
    assert shown(registry) == [("other", "0.1.0")]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (refused(404, "ModelNotFound", "no"), NotFound),
        (refused(403, "Forbidden.RAM", "no"), Refused),
        (refused(400, "InvalidParameter", "no"), Refused),
        (refused(429, "Throttling", "slowly"), Unavailable),
        (refused(400, "Throttling.User", "slowly"), Unavailable),
        (refused(500, "InternalError", "no"), Unavailable),
        (Reply(200, {"Content-Type": "text/html"}, b"<html>Please log in"), Unavailable),
        (as_json([]), Unavailable),
        (as_json({"Models": [{"ModelName": "a"}]}), Unavailable),
        (as_json({"Models": [], "TotalCount": 5}), Unavailable),
        (as_json({"Models": 5, "TotalCount": 5}), Unavailable),
        (Reply(200, {}, b"{", cut_after=1), Unavailable),
    ],
)
def test_a_failure_of_the_service_is_its_remedy(pai: PaiWeb, reply: Reply, kind: type[SyncdError]) -> None:
    pai.web.faults.append(lambda _: reply)
    with pytest.raises(kind) as caught:
        list(SdkWorkspace(settings_of(pai), KEY, ONCE).models())
    assert caught.value.message.startswith("ListModels 796")


def test_an_answer_about_another_version_is_none(pai: PaiWeb) -> None:
    answer: dict[str, Any] = {"VersionName": "0.9.0", "Uri": "oss://x", "ApprovalStatus": "Approved"}
    pai.web.faults.append(lambda _: as_json(answer))
    with pytest.raises(Unavailable, match=r"is about '0\.9\.0'"):
        SdkWorkspace(settings_of(pai), KEY, ONCE).version("model-1", "0.1.0")


@pytest.mark.parametrize("body", [None, "x", 1, True, [[]], {}, {"VersionName": "x" * 5000}])
def test_an_answer_of_another_shape_is_none(pai: PaiWeb, body: object) -> None:
    pai.web.faults.append(lambda _: as_json(body))
    with pytest.raises(Unavailable) as caught:
        SdkWorkspace(settings_of(pai), KEY, ONCE).version("model-1", "0.1.0")
    assert len(caught.value.message) < 400


def test_a_listing_without_end_is_refused(pai: PaiWeb) -> None:
    row = {"ModelId": "model-1", "ModelName": "m"}
    pai.web.faults.append(lambda _: as_json({"Models": [row] * 100, "TotalCount": 1 << 40}))
    with pytest.raises(Invalid, match="more than 10000"):
        list(SdkWorkspace(settings_of(pai), KEY, ONCE).models())


def test_a_key_that_is_wrong_is_refused(pai: PaiWeb) -> None:
    with pytest.raises(Refused, match="SignatureNotMatch") as caught:
        list(SdkWorkspace(settings_of(pai), AccessKey(KEY_ID, Secret("another")), ONCE).models())
    assert "another" not in str(caught.value)


def test_another_workspaces_models_are_not_there(pai: PaiWeb, bucket: RawBucket) -> None:
    pai.register(QWEN, "0.1.0", uri(bucket))
    assert list(SdkWorkspace(settings_of(pai, workspace="1"), KEY, ONCE).models()) == []


def test_a_temporary_failure_is_retried(pai: PaiWeb, bucket: RawBucket) -> None:
    pai.register(QWEN, "0.1.0", uri(bucket))
    failures = [refused(503, "ServiceUnavailable", "soon")]
    pai.web.faults.append(lambda _: failures.pop() if failures else None)
    assert [name for name, _ in SdkWorkspace(settings_of(pai), KEY).models()] == [QWEN]


def test_a_file_that_was_deleted_from_its_bucket_is_not_found(pai: PaiWeb, bucket: RawBucket) -> None:
    bucket.write("gone/w.bin", b"1")
    pai.register(QWEN, "0.1.0", uri(bucket, "gone/"))
    registry = registry_of(pai, bucket)
    revision = registry.resolve(QWEN, "0.1.0")
    bucket.client.delete_object("gone/w.bin")
    with pytest.raises(NotFound):
        registry.open(QWEN, revision, FilePath("w.bin"))


def test_the_error_for_a_missing_sdk_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "syncd.registry.sources.pai_workspace", raising=False)
    monkeypatch.setitem(sys.modules, "alibabacloud_aiworkspace20210204.client", None)
    with pytest.raises(Invalid, match="kind 'pai'") as caught:
        dict(registries_of(load(EXAMPLE, {"SYNCD_OSS_SECRET": "x"})))
    assert "syncd[server,pai]" in caught.value.hint
