"""Whole files of real writers pass, and a cut anywhere is found, by ranges and as the bytes pass."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from syncd.errors import Corrupt
from syncd.formats.contents import Contents, Need

from tests.unit.formats import written
from tests.unit.formats.reading import both, ranged, sample
from tests.unit.formats.written import KNOWN, WRITTEN, onnx_with_data


@pytest.mark.parametrize("name", [*WRITTEN, *KNOWN])
def test_what_a_tool_wrote_is_whole(name: str, tmp_path: Path) -> None:
    found = both(name, {**WRITTEN, **KNOWN}[name](tmp_path))
    assert isinstance(found, Contents), found
    assert found.is_whole == (name in WRITTEN or name == "keras.ckpt")
    assert found.format


@pytest.mark.parametrize("name", WRITTEN)
def test_a_cut_anywhere_is_found(name: str, tmp_path: Path) -> None:
    data = WRITTEN[name](tmp_path)
    paths = {name, "variables.data-00000-of-00001"}
    spared = 31 if name.lower().endswith(".gguf") else 0  # what pads the last tensor need not be there
    step = max(1, len(data) // 150)
    cuts = {
        *range(0, len(data) - spared, step),
        *range(max(0, len(data) - spared - 70), len(data) - spared),
        len(data) // 2,
    }
    for size_bytes in cuts:
        found = both(name, data[:size_bytes], paths)
        assert isinstance(found, str), f"{name} cut to {size_bytes} of {len(data)}: {found}"


@pytest.mark.parametrize("name", [name for name in WRITTEN if name != "variables.index"])
@pytest.mark.parametrize("filler", [b"\0", b"\xff", b"a"], ids=["zeros", "ones", "text"])
def test_something_else_of_the_same_size_is_found(name: str, filler: bytes, tmp_path: Path) -> None:
    assert isinstance(both(name, filler * len(WRITTEN[name](tmp_path))), str)


def test_the_parameters_of_a_file_are_counted(tmp_path: Path) -> None:
    found = ranged("m.safetensors", WRITTEN["model.safetensors"](tmp_path))
    assert found.parameters == {"F32": 640, "F16": 32, "I64": 1}
    assert found.tensors == 4
    assert ranged("m.gguf", WRITTEN["model.gguf"](tmp_path)).tensors == 5
    assert ranged("m.onnx", WRITTEN["model.onnx"](tmp_path)).tensors == 1


def test_the_data_beside_an_onnx_model_is_needed_to_its_end(tmp_path: Path) -> None:
    files = onnx_with_data(tmp_path)
    found = both("onnx/model.onnx", files["model.onnx"])
    assert isinstance(found, Contents)
    assert found.needs == (Need("onnx/model.onnx_data", len(files["model.onnx_data"]), 0),)


@pytest.mark.parametrize("location", ["../other.bin", "/etc/passwd", "", "a\\b", ".", "sub/../../x"])
def test_data_outside_of_the_folder_is_refused(location: str) -> None:
    model = onnx.load_from_string(WRITTEN["model.onnx"](Path()))
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    with pytest.raises(Corrupt, match="not a file in its own folder"):
        ranged("m.onnx", model.SerializeToString())


def test_a_tensor_of_nothing_begins_nowhere() -> None:
    model = onnx.load_from_string(written.onnx_in_safetensors()["model.onnx"])
    tensor = model.graph.initializer[0]
    tensor.external_data[1].value = tensor.external_data[2].value = "0"
    assert ranged("m.onnx", model.SerializeToString()).needs == (Need("w.safetensors"),)


def test_an_offset_that_is_no_number_is_refused() -> None:
    model = onnx.load_from_string(WRITTEN["model.onnx"](Path()))
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "w"), ("offset", "many")):
        tensor.external_data.add(key=key, value=value)
    with pytest.raises(Corrupt, match="an offset that is not a number"):
        ranged("m.onnx", model.SerializeToString())


def test_the_index_of_a_checkpoint_names_its_shards_and_their_ends() -> None:
    found = both("m/variables/variables.index", sample("variables.index"))
    assert isinstance(found, Contents)
    shard = "m/variables/variables.data-00000-of-00001"
    assert found.needs == (Need(shard, len(sample("variables.data-00000-of-00001"))),)


def test_an_index_of_something_else_is_opaque_without_shards_beside_it() -> None:
    assert both("faiss.index", b"IxF2" + bytes(200)) == Contents()
    assert isinstance(both("m.index", b"IxF2" + bytes(200), {"m.index", "m.data-00000-of-00001"}), str)
