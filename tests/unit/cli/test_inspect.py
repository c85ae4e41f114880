"""`syncd inspect`: a version at its source, as text and as JSON."""

from __future__ import annotations

import hashlib

from syncd.cli.exit_codes import Exit

from tests.support.tensors import gguf
from tests.unit.cli.calling import Calling
from tests.unit.formats.test_safetensors import TENSORS, file_of
from tests.unit.formats.test_tensors import WEIGHTS
from tests.unit.registry.trees import mark, write

MODEL = file_of(TENSORS)


def offered(call: Calling, data: bytes = MODEL, marker: str = "SHA256SUMS") -> Calling:
    top = write(call.home / "registry/m/v1", {"model.safetensors": data, "config.json": b"{}"})
    mark(top, marker)
    return call


def test_a_version_is_shown_with_its_files_and_parameters(call: Calling) -> None:
    reported = offered(call)("inspect", "m@v1", "-o", "json")
    assert reported.code == Exit.OK
    document = reported.document
    assert (document["model"], document["version"], document["size_bytes"]) == ("m", "v1", len(MODEL) + 2)
    assert document["parameters"] == {"BF16": 7, "F32": 1}
    config, model = document["files"]
    assert model == {
        "path": "model.safetensors",
        "size_bytes": len(MODEL),
        "sha256": hashlib.sha256(MODEL).hexdigest(),
        "format": "safetensors",
        "tensors": 3,
        "parameters": {"BF16": 7, "F32": 1},
        "checked": True,
    }
    assert (config["format"], config["tensors"], config["parameters"]) == (None, None, None)
    assert len(document["pin"]) == 64


def test_a_person_sees_the_same(call: Calling) -> None:
    reported = offered(call, marker="READY")("inspect", "m@latest")
    assert reported.code == Exit.OK
    assert "BF16 7, F32 1" in reported.out
    assert "none: computed by reading the file once" in reported.out
    assert "m@v1" in reported.out


def test_a_gguf_file_and_an_adapter_are_shown_as_what_they_are(call: Calling) -> None:
    adapter = b'{"base_model_name_or_path": "acme/chat"}'
    top = write(call.home / "registry/m/v1", {"m.gguf": gguf(WEIGHTS), "adapter_config.json": adapter, "b/c": b""})
    write(top, {"b/adapter_config.json": b"{}", "b/adapters.safetensors": MODEL, "adapter_model.bin": b"1"})
    mark(top, "READY")
    reported = call("inspect", "m@v1", "-o", "json").document
    assert reported["adapters"] == {"adapter_config.json": "acme/chat", "b/adapter_config.json": ""}
    shown = {file["path"]: (file["format"], file["tensors"]) for file in reported["files"]}
    assert shown["m.gguf"] == ("gguf", len(WEIGHTS))
    out = call("inspect", "m@v1").out
    assert f"{len(WEIGHTS)} tensors" in out
    assert "for acme/chat" in out
    assert "for a base that it does not name" in out


def test_a_file_that_was_cut_off_is_an_error(call: Calling) -> None:
    reported = offered(call, MODEL[:-1])("inspect", "m@v1")
    assert reported.code == Exit.DIFFERS
    assert f"model.safetensors has {len(MODEL) - 1} bytes" in reported.err


def test_a_model_without_a_binding_is_not_found(call: Calling) -> None:
    assert "no binding serves" in call("inspect", "other@v1").err


def test_what_a_loader_may_misread_is_a_warning_beside_the_result(call: Calling) -> None:
    index = b'{"weight_map": {"a": "model-00001-of-00001.safetensors"}}'
    files = {
        "model.safetensors": MODEL,
        "model-00001-of-00001.safetensors": MODEL,
        "model.safetensors.index.json": index,
    }
    mark(write(call.home / "registry/m/v1", files), "SHA256SUMS")
    reported = call("inspect", "m@v1", "-o", "json")
    assert reported.code == Exit.OK
    assert (
        "model.safetensors and model.safetensors.index.json are the same weights twice"
        in reported.document["warnings"][0]
    )
    assert reported.err.startswith("warning: model.safetensors and")


def test_packed_weights_are_shown_by_their_tensors_alone(call: Calling) -> None:
    packed = {"l.qweight": {"dtype": "I32", "shape": [2], "data_offsets": [0, 8]}}
    reported = offered(call, file_of(packed))("inspect", "m@v1", "-o", "json").document
    assert reported["parameters"] == {}
    assert (reported["files"][1]["tensors"], reported["files"][1]["parameters"]) == (1, {})
    assert "1 tensors" in call("inspect", "m@v1").out
