"""Names of formats by content: which hold data alone, and which can run code when they are loaded."""

from __future__ import annotations

from typing import Final

IDENTIFIER: Final = "syncd-formats/1"
"""The version of the rules that identify a file: part of each verdict, so that another version evaluates anew."""

DATA_ONLY: Final = frozenset({
    "empty", "gguf", "image", "keras", "numpy", "onnx", "raw", "safetensors", "sentencepiece",
    "tensorflow-checkpoint", "text", "tflite",
})  # fmt: skip
"""Formats that hold numbers and text alone. `raw` is a file that a data-only file names as its tensors."""

CODE_CARRYING: Final = frozenset({
    "archive", "executable", "hdf5", "joblib", "keras-code", "numpy-objects", "pickle", "python", "savedmodel",
    "script", "torch", "torchscript", "unknown",
})  # fmt: skip
"""Formats whose loading can run code, and those whose content is not known."""

MALFORMED: Final = "malformed"
"""Not what its first bytes say. No policy can allow it."""
