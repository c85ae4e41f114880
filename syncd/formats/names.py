"""What a file's name says: the format that it promises, and whether it is weights, of a tokenizer or a configuration.

A name promises a format only if it is used for nothing else: `.bin` alone may be anything.
"""

from __future__ import annotations

import re
from typing import Final

_PROMISES: Final = {
    ".safetensors": "safetensors",
    ".gguf": "gguf",
    ".onnx": "onnx",
    ".keras": "keras",
    ".h5": "hdf5",
    ".tflite": "tflite",
    ".npz": "npz",
    ".pt": "torch",
    ".pth": "torch",
    ".ckpt": "torch",
}
_TORCH_BIN: Final = re.compile(r"pytorch_model.*\.bin")
_WEIGHTS: Final = (
    *_PROMISES, ".bin", ".msgpack", ".pkl", ".pickle", ".joblib", ".npy", ".hdf5", ".onnx_data", ".onnx.data",
    ".pdparams", ".pdiparams", ".caffemodel", ".weights", ".engine", ".plan", ".trt", ".nemo", ".mlmodel", ".pte",
    ".ptl", ".om", ".rknn", ".mnn", ".ggml", ".llamafile", ".tensors", ".torchscript",
)  # fmt: skip
_TOKENIZERS: Final = (".model", ".tiktoken", ".spm", ".vocab")
_TOKENIZER_NAMES: Final = frozenset({"vocab.txt", "merges.txt", "bpe.codes", "dict.txt"})
_CONFIGURATIONS: Final = (".json", ".yaml", ".yml", ".toml", ".cfg", ".pbtxt")


def name_of(path: str) -> str:
    """A file's own name, in lower case: some tools write `model.GGUF`."""
    return path.rpartition("/")[2].lower()


def promised(path: str) -> str:
    """The format that a name promises; "" if none."""
    name = name_of(path)
    if _TORCH_BIN.fullmatch(name):
        return "torch"
    dot = name.rfind(".")
    return _PROMISES.get(name[dot:], "") if dot >= 0 else ""


def is_weights(path: str) -> bool:
    """Whether a name is one of weights, of whatever format."""
    return name_of(path).endswith(_WEIGHTS)


def is_tokenizer(path: str) -> bool:
    """Whether a name is one of a tokenizer or its vocabulary, but for those that are configurations too."""
    name = name_of(path)
    return name in _TOKENIZER_NAMES or name.endswith(_TOKENIZERS)


def is_configuration(path: str) -> bool:
    """Whether a name is one of settings that a loader reads, `tokenizer.json` among them."""
    return name_of(path).endswith(_CONFIGURATIONS)
