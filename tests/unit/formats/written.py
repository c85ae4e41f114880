"""Whole files of every format, by the tools that write them: the oracles of the checks."""

from __future__ import annotations

import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import h5py
import numpy as np
import onnx
from onnx import TensorProto, helper
from safetensors.numpy import save

from tests.unit.formats.reading import sample

ARRAYS: Mapping[str, Any] = {
    "model.embed.weight": np.arange(640, dtype=np.float32).reshape(20, 32),
    "model.norm.weight": np.ones(32, dtype=np.float16),
    "model.step": np.zeros((), dtype=np.int64),
    "model.empty": np.zeros((0, 4), dtype=np.float32),
}


def safetensors_file() -> bytes:
    return bytes(save(dict(ARRAYS), {"format": "np"}))


def gguf_file(folder: Path, *, big: bool = False) -> bytes:
    path = folder / "m.gguf"
    endian = gguf.GGUFEndian.BIG if big else gguf.GGUFEndian.LITTLE
    writer = gguf.GGUFWriter(path, "llama", False, endian)
    writer.add_context_length(4096)
    writer.add_token_list([f"token {number}" for number in range(3000)])
    writer.add_token_scores([0.5] * 3000)
    writer.add_tensor("token_embd.weight", ARRAYS["model.embed.weight"])
    for kind in (gguf.GGMLQuantizationType.Q4_0, gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q6_K):
        block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        rows = np.zeros((3, 256 // block * block_bytes), dtype=np.uint8)
        writer.add_tensor(f"blk.{kind.value}.weight", rows, raw_dtype=kind)
    writer.add_tensor("output_norm.weight", np.ones(256, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def onnx_model(values: int = 64) -> onnx.ModelProto:
    """A model with weights as initializers, in a constant, and in the branches of a condition."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, [values], np.ones(values, np.float32).tobytes(), raw=True)
    other = helper.make_tensor("c", TensorProto.FLOAT, [values], np.zeros(values, np.float32).tobytes(), raw=True)
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])
    branches = {
        f"{name}_branch": helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], name, [], [output])
        for name in ("then", "else")
    }
    nodes = [
        helper.make_node("Constant", [], ["c"], value=other),
        helper.make_node("If", ["flag"], ["y"], **branches),
    ]
    flag = helper.make_tensor_value_info("flag", TensorProto.BOOL, [])
    graph = helper.make_graph(nodes, "g", [flag], [output], initializer=[weights])
    model = helper.make_model(graph, producer_name="tests", opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model)
    return model


def onnx_file() -> bytes:
    data: bytes = onnx_model().SerializeToString()
    return data


def onnx_with_data(folder: Path, location: str = "model.onnx_data", values: int = 64) -> Mapping[str, bytes]:
    """A model and the file beside it that has its weights, those of the constant too."""
    onnx.save_model(
        onnx_model(values),
        str(folder / "model.onnx"),
        save_as_external_data=True,
        location=location,
        size_threshold=0,
        convert_attribute=True,
    )
    return {name: (folder / name).read_bytes() for name in ("model.onnx", location)}


def onnx_in_safetensors(added: Mapping[str, str] | None = None) -> Mapping[str, bytes]:
    """A model whose weights are at an offset of a safetensors file, which was then saved again with `added`."""
    model, tensors = onnx_model(), {"w": np.ones(64, np.float32)}
    first = bytes(save(tensors))
    begin = 8 + int.from_bytes(first[:8], "little")
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "w.safetensors"), ("offset", str(begin)), ("length", str(len(first) - begin))):
        weights.external_data.add(key=key, value=value)
    again = bytes(save(tensors, dict(added))) if added else first
    return {"model.onnx": model.SerializeToString(), "w.safetensors": again}


def hdf5_file(folder: Path, **options: Any) -> bytes:
    path = folder / "m.h5"
    with h5py.File(path, "w", **options) as file:
        file["layers/dense/kernel"] = ARRAYS["model.embed.weight"]
    return path.read_bytes()


def npz_file(folder: Path, *, packed: bool = False) -> bytes:
    path = folder / "m.npz"
    (np.savez_compressed if packed else np.savez)(path, **{name: ARRAYS[name] for name in ARRAYS})
    return path.read_bytes()


def zip_like_torch(sizes: Mapping[str, int], *, zip64: bool = True) -> bytes:
    """A zip archive as `torch.save` writes it: stored, every record padded, zip64 records always."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, size_bytes in sizes.items():
            info = zipfile.ZipInfo(f"archive/{name}")
            info.extra = b"FB" + (11).to_bytes(2, "little") + b"Z" * 11
            with archive.open(info, "w", force_zip64=zip64) as entry:
                entry.write(bytes(size_bytes))
    return buffer.getvalue()


def tar_of_torch() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("pickle")
        info.size = 10
        archive.addfile(info, io.BytesIO(bytes(10)))
    return buffer.getvalue()


def mindspore_file() -> bytes:
    """As MindSpore's `Checkpoint` message: values with a tag and a tensor."""
    tensor = b"\x08\x04\x12\x07Float32\x1a\x10" + bytes(16)
    value = b"\x0a\x0ddense.weights" + b"\x12" + bytes([len(tensor)]) + tensor
    return (b"\x0a" + bytes([len(value)]) + value) * 3


# The name of a file, and what writes it. Every one is whole.
WRITTEN: Mapping[str, Callable[[Path], bytes]] = {
    "model.safetensors": lambda _: safetensors_file(),
    "model.gguf": gguf_file,
    "big-endian.gguf": lambda folder: gguf_file(folder, big=True),
    "UPPER.GGUF": gguf_file,
    "model.onnx": lambda _: onnx_file(),
    "model.h5": hdf5_file,
    "latest.h5": lambda folder: hdf5_file(folder, libver="latest"),
    "v108.h5": lambda folder: hdf5_file(folder, libver="v108"),
    "user.h5": lambda folder: hdf5_file(folder, userblock_size=1024),
    "weights.npz": npz_file,
    "packed.npz": lambda folder: npz_file(folder, packed=True),
    "hand-made.pt": lambda _: zip_like_torch({"data.pkl": 100, "data/0": 5000}),
    "no-zip64.pth": lambda _: zip_like_torch({"data.pkl": 100}, zip64=False),
    "many.ckpt": lambda _: zip_like_torch({f"data/{number}": 10 for number in range(5000)}),
    "plain.pt": lambda _: pickle.dumps({"a": [1.5] * 100, "b": ("x", b"y" * 300)}, 2),
    "protocol-0.pth": lambda _: pickle.dumps({"a": [1, 2, 3]}, 0),
    "protocol-5.ckpt": lambda _: pickle.dumps({"a": list(range(500))}, 5),
    "torch.pt": lambda _: sample("torch-zip.pt"),
    "pytorch_model.bin": lambda _: sample("torch-zip.pt"),
    "legacy.pth": lambda _: sample("torch-legacy.pt"),
    "pytorch_model-00001-of-00001.bin": lambda _: sample("torch-legacy.pt"),
    "protocol-4.pt": lambda _: sample("torch-legacy-protocol4.pt"),
    "script.pt": lambda _: sample("torchscript.pt"),
    "model.keras": lambda _: sample("keras.keras"),
    "model.weights.h5": lambda _: sample("keras.weights.h5"),
    "legacy.h5": lambda _: sample("keras-legacy.h5"),
    "model.tflite": lambda _: sample("tensorflow.tflite"),
    "saved_model.pb": lambda _: sample("saved_model.pb"),
    "variables.index": lambda _: sample("variables.index"),
}
# Whole, and of a format that is only known, not followed to its end.
KNOWN: Mapping[str, Callable[[Path], bytes]] = {
    "old.pt": lambda _: tar_of_torch(),
    "mindspore.ckpt": lambda _: mindspore_file(),
    "keras.ckpt": lambda _: sample("keras.weights.h5"),
}
