"""One file: is it what its name says, and whole?"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final

from syncd.formats import documents, indexes, names, substitutes
from syncd.formats.contents import Contents, damaged
from syncd.formats.parsers import gguf, hdf5, onnx, pickles, safetensors, tensorflow, tflite, zips
from syncd.formats.spans import Span, Steps

Parser = Callable[[str, int], Steps[Contents]]

_FORMATS: Final[Mapping[str, Parser]] = {
    "safetensors": safetensors.parse,
    "gguf": gguf.parse,
    "onnx": onnx.parse,
    "keras": zips.parse_keras,
    "hdf5": hdf5.parse,
    "tflite": tflite.parse,
    "npz": lambda path, size_bytes: zips.parse(path, size_bytes, "npz"),
    "torch": pickles.parse_torch,
}
_DOCUMENTS: Final[Mapping[str, Parser]] = {
    documents.ADAPTER: documents.parse_adapter,
    documents.PIPELINE: documents.parse_pipeline,
    documents.MODULES: documents.parse_modules,
    tensorflow.SAVED_MODEL: tensorflow.parse_saved_model,
}


def is_read(path: str, size_bytes: int) -> bool:
    """Whether anything of a file is read to check it."""
    return substitutes.may_be_pointer(size_bytes) or _may_be_page(path) or _parser(path, ()) is not None


def check(path: str, size_bytes: int, paths: Collection[str] = ()) -> Steps[Contents]:
    """Check a file of a version that has these paths. Reads its first bytes, and what its format takes.

    Raises:
        Corrupt: It is empty, cut off, or something else than its name says.
        Invalid: It is a document that names others, and cannot be understood.
    """
    if not size_bytes:
        if names.is_weights(path) and not _may_be_empty(path, paths):
            raise damaged(path, "is empty, and its name is one of weights")
        if _parser(path, paths) is None:
            return Contents()
    if substitutes.may_be_pointer(size_bytes):
        substitutes.check_no_pointer(path, (yield Span(0, size_bytes)))
    if _may_be_page(path):
        head = yield Span(0, min(size_bytes, substitutes.PAGE_HEAD_BYTES))
        substitutes.check_no_page(path, head)
        if substitutes.may_be_error(head, size_bytes):
            substitutes.check_no_error(path, (yield Span(0, size_bytes)))
    parser = _parser(path, paths)
    return Contents() if parser is None else (yield from parser(path, size_bytes))


def _parser(path: str, paths: Collection[str]) -> Parser | None:
    own = documents.own_name(path)
    if own in _DOCUMENTS:
        return _DOCUMENTS[own]
    if indexes.is_index(path):
        return indexes.parse
    if own.endswith(tensorflow.INDEX_ENDING):
        has_shards = any(each.startswith(f"{path.removesuffix(tensorflow.INDEX_ENDING)}.data-") for each in paths)
        return lambda p, size_bytes: tensorflow.parse_index(p, size_bytes, has_shards=has_shards)
    if own.endswith(".xml"):
        return documents.parse_openvino
    if documents.is_blob(path):
        return documents.parse_blob
    if documents.is_ollama_manifest(path):
        return documents.parse_ollama
    return _FORMATS.get(names.promised(path))


def _may_be_page(path: str) -> bool:
    return names.is_weights(path) or names.is_tokenizer(path) or names.is_configuration(path)


def _may_be_empty(path: str, paths: Collection[str]) -> bool:
    """An OpenVINO model without constants has weights of no bytes; the model says how many there have to be."""
    return path.endswith(".bin") and f"{path[: -len('.bin')]}.xml" in paths
