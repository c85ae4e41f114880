"""The change to a function that follows from the versions it is to serve."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncd.artifact.digest import Digest
from syncd.errors import Invalid
from syncd.plan.binding import (
    ENVIRONMENT_MAX_BYTES,
    Binding,
    BoundModel,
    ModelLocation,
    MountMode,
    Serving,
    change_for,
    environment_bytes,
    unset_names,
)
from syncd.values.function import Change, Mount, MountKind, Names

PLACES = {
    "oss": ModelLocation(MountKind.OSS, "bucket", "/team", "oss-cn-hangzhou-internal.aliyuncs.com"),
    "nas": ModelLocation(MountKind.NAS, "n.nas.aliyuncs.com", ""),
}
OWN = BoundModel("sdxl", "oss", MountMode.VERSION, "/mnt/sdxl", "D", "P", "V")


def root(model: str, target: str = "nas", **more: str) -> BoundModel:
    return BoundModel(model, target, MountMode.ROOT, "/mnt/models", versions_variable="MODELS", **more)


def bound(*models: BoundModel) -> Binding:
    return Binding("b", "hz", "f", "prod", "next", models)


def serving(model: str, version: str = "v1", digit: str = "a") -> Serving:
    digest = Digest(digit * 64)
    return Serving(version, digest, f"models/{model}/{version}-{digest.short}")


def test_a_version_mount_is_the_versions_own_directory_at_a_fixed_place() -> None:
    change = change_for(bound(OWN), PLACES, {"sdxl": serving("sdxl")})
    path = "/team/models/sdxl/v1-aaaaaaaaaaaa"
    assert change.mounts == (
        Mount(MountKind.OSS, "bucket", path, "/mnt/sdxl", "oss-cn-hangzhou-internal.aliyuncs.com"),
    )
    assert change.environment == {"D": "a" * 64, "P": "/mnt/sdxl", "V": "v1"}


def test_a_root_mount_is_the_models_root_and_one_variable_names_the_version() -> None:
    change = change_for(bound(root("sdxl", path_variable="P")), PLACES, {"sdxl": serving("sdxl")})
    assert change.mounts == (Mount(MountKind.NAS, "n.nas.aliyuncs.com", "/models", "/mnt/models"),)
    path = "/mnt/models/sdxl/v1-aaaaaaaaaaaa"
    assert json.loads(change.environment["MODELS"]) == {"sdxl": {"digest": "a" * 64, "path": path}}
    assert change.environment["P"] == path


def test_ten_models_share_one_root_mount_and_one_variable() -> None:
    models = [root(f"m{n}") for n in range(10)]
    change = change_for(bound(*models), PLACES, {f"m{n}": serving(f"m{n}") for n in range(10)})
    assert len(change.mounts) == 1
    assert sorted(json.loads(change.environment["MODELS"])) == [f"m{n}" for n in range(10)]


def test_both_ways_to_mount_live_on_one_function() -> None:
    change = change_for(bound(OWN, root("llm")), PLACES, {"sdxl": serving("sdxl"), "llm": serving("llm", "v9", "b")})
    assert [mount.mount_dir for mount in change.mounts] == ["/mnt/models", "/mnt/sdxl"]
    assert set(change.environment) == {"D", "P", "V", "MODELS"}


def test_a_model_without_a_version_yet_is_left_out() -> None:
    both = bound(OWN, root("llm"))
    only = change_for(both, PLACES, {"llm": serving("llm")})
    assert [mount.mount_dir for mount in only.mounts] == ["/mnt/models"]
    assert list(only.environment) == ["MODELS"]
    assert change_for(both, PLACES, {}) == Change((), {})


def test_a_variable_without_a_name_is_not_told() -> None:
    silent = replace(OWN, digest_variable="", path_variable="", version_variable="")
    assert change_for(bound(silent), PLACES, {"sdxl": serving("sdxl")}).environment == {}


def test_another_version_changes_the_mount_or_the_variable() -> None:
    for model in (OWN, root("sdxl")):
        one, two = (change_for(bound(model), PLACES, {"sdxl": serving("sdxl", "v1", d)}) for d in "ab")
        assert one != two


def test_the_order_of_what_is_served_does_not_matter() -> None:
    serves = {"sdxl": serving("sdxl"), "llm": serving("llm")}
    backwards = dict(reversed(serves.items()))
    assert change_for(bound(OWN, root("llm")), PLACES, serves) == change_for(bound(OWN, root("llm")), PLACES, backwards)


@given(length=st.integers(1, 5000))
def test_the_variables_fit_into_the_platforms_limit_or_are_refused(length: int) -> None:
    binding = bound(BoundModel("m", "nas", MountMode.VERSION, "/mnt/m", version_variable="VERSION"))
    serves = {"m": serving("m", "v" * length)}
    size_bytes = len("VERSION") + length
    if size_bytes <= ENVIRONMENT_MAX_BYTES:
        assert environment_bytes(change_for(binding, PLACES, serves).environment) == size_bytes
        return
    with pytest.raises(Invalid, match=f"{size_bytes} of {ENVIRONMENT_MAX_BYTES}") as caught:
        change_for(binding, PLACES, serves)
    assert caught.value.hint


def test_letters_of_more_than_one_byte_are_counted_in_bytes() -> None:
    assert environment_bytes({"ü": "模型"}) == 2 + 6


def test_too_many_models_below_one_root_are_refused_before_anything_is_staged() -> None:
    models = [root(f"model-{n}") for n in range(40)]
    with pytest.raises(Invalid, match="binding b"):
        change_for(bound(*models), PLACES, {f"model-{n}": serving(f"model-{n}") for n in range(40)})


def test_a_version_without_an_image_at_the_target_is_refused_with_the_command_that_makes_one() -> None:
    bound = BoundModel("sdxl", "images", MountMode.IMAGE, "", "SDXL_DIGEST")
    binding = Binding("b", "hz", "draw", "prod", "next", (bound,))
    serving = Serving("v1", Digest("a" * 64), "models/sdxl/v1-aaaaaaaaaaaa")
    with pytest.raises(Invalid, match="sdxl@v1 has no image at images") as refused:
        change_for(binding, {}, {"sdxl": serving})
    assert "syncd publish sdxl@v1" in refused.value.hint


def test_what_a_model_that_is_not_served_may_have_left_is_all_that_its_own_names_are() -> None:
    binding = bound(
        OWN, root("llm", path_variable="Q"), root("tts"), BoundModel("asr", "img", MountMode.IMAGE, "", "A")
    )
    change = change_for(binding, PLACES, {"tts": serving("tts")})
    found = unset_names(binding, change, {"sdxl", "llm", "asr"})
    assert found == Names(frozenset({"/mnt/sdxl"}), frozenset({"D", "P", "V", "Q", "A"})), "the others share the root"
    assert not unset_names(binding, change, {"tts"})
    assert not unset_names(binding, change, ())
    alone = change_for(binding, PLACES, {"sdxl": serving("sdxl")})
    assert unset_names(binding, alone, {"tts"}) == Names(frozenset({"/mnt/models"}), frozenset({"MODELS"}))
