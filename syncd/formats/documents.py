"""Small files that name others: `model_index.json`, `modules.json`, `adapter_config.json`, OpenVINO, ollama."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from typing import Any, Final

from syncd.errors import Invalid
from syncd.formats.contents import Contents, Need, damaged, leaving
from syncd.formats.parsers import gguf
from syncd.formats.parsers.onnx import beside
from syncd.formats.spans import Span, Steps

ADAPTER: Final = "adapter_config.json"
PIPELINE: Final = "model_index.json"
MODULES: Final = "modules.json"
OF_MODULES: Final = "config_sentence_transformers.json"  # which sentence-transformers writes beside MODULES
DOCUMENT_BYTES_MAX: Final = 1 << 20
OPENVINO_BYTES_MAX: Final = 64 << 20
_CLASS: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
# Nothing in these is tried twice: a hostile file would otherwise take for ever, and the interpreter with it.
_NET: Final = re.compile(rb"(\xef\xbb\xbf)?\s*+(<\?xml[^>]*+>\s*+)?((?><!--.*?-->)\s*+)*+<net[\s>]", re.DOTALL)
_NET_ENDING: Final = b"</net>"
_HEAD_BYTES: Final = 4096
_DATA: Final = re.compile(rb"<data\s[^<>]*+")
_OFFSET: Final = re.compile(rb'\boffset="(\d{1,18})"')
_SIZE: Final = re.compile(rb'\bsize="(\d{1,18})"')
_MANIFESTS: Final = re.compile(r"(?P<store>(?:.*/)?)manifests/(?:[^/]+/){2,}[^/]+")
_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")
BLOB: Final = re.compile(r"(?:.*/)?blobs/sha256-([0-9a-f]{64})")
# Modules of sentence-transformers that save nothing, so that their folders are in no repository.
_NOTHING_SAVED: Final = frozenset({"Normalize"})
_NOT_MODELS: Final = ("Tokenizer", "Processor", "FeatureExtractor", "Scheduler")


def parse_adapter(path: str, size_bytes: int) -> Steps[Contents]:
    """Read the configuration of an adapter: the model that it is for; "" where it names none.

    Raises:
        Invalid: It is no configuration of an adapter.
    """
    document = _object(path, (yield from _document(path, size_bytes)), "configuration of an adapter")
    named = [document.get(key) for key in ("base_model_name_or_path", "revision")]
    return Contents("adapter", base="@".join(part for part in named if isinstance(part, str) and part))


def parse_pipeline(path: str, size_bytes: int) -> Steps[Contents]:
    """Read diffusers' list of components; its needs are their folders. Those that are not used are null.

    Raises:
        Invalid: It is not a list of components.
    """
    document = _object(path, (yield from _document(path, size_bytes)), "list of components")
    found = list(_components(path, document))
    models = tuple(folder for folder, kind in found if not kind.endswith(_NOT_MODELS))
    return Contents("pipeline", needs=tuple(Need(folder) for folder, _ in found), models=models)


def _components(path: str, document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The folder of each component, and its class."""
    for name, value in document.items():
        if name.startswith("_") or not isinstance(value, list) or len(value) != 2:
            continue
        if all(isinstance(each, str) and _CLASS.fullmatch(each) for each in value):
            place = beside(path, name)
            if place is None or "/" in name:
                raise Invalid(f"{path} names component {name[:80]!r}, which is not a folder", hint=leaving(path))
            yield f"{place}/", value[1].removesuffix("Fast")


def parse_modules(path: str, size_bytes: int) -> Steps[Contents]:
    """Read sentence-transformers' list of modules; its needs are their folders.

    Raises:
        Invalid: A module is outside of its folder.
    """
    document = _json(path, (yield from _document(path, size_bytes)), "list of modules")
    needs = []
    for each in document if isinstance(document, list) else []:
        kind, name = (each.get("type"), each.get("path")) if isinstance(each, dict) else (None, None)
        if not isinstance(kind, str) or not isinstance(name, str) or not name:
            continue
        package, _, own = kind.rpartition(".")
        if package.partition(".")[0] != "sentence_transformers" or own in _NOTHING_SAVED:
            continue
        place = beside(path, name)
        if place is None:
            raise Invalid(f"{path} names {name[:80]!r}, which is not in its own folder", hint=leaving(path))
        needs.append(Need(f"{place}/"))
    return Contents("modules", needs=tuple(needs))


def parse_openvino(path: str, size_bytes: int) -> Steps[Contents]:
    """Read an OpenVINO model; its need is the `.bin` beside it. Another `.xml` is of no format.

    Raises:
        Corrupt: It was cut off.
    """
    head = yield Span(0, min(_HEAD_BYTES, size_bytes))
    if not _NET.match(head):
        return Contents()
    weights = f"{path[: -len('.xml')]}.bin"
    if size_bytes > OPENVINO_BYTES_MAX:
        return Contents("openvino", needs=(Need(weights),), is_whole=False)
    data = yield Span(0, size_bytes)
    if not data.rstrip().endswith(_NET_ENDING):
        raise damaged(path, f"is an OpenVINO model that does not end with {_NET_ENDING.decode()}", "it was cut off")
    return Contents("openvino", needs=(Need(weights, max(_ends(data), default=0)),))


def _ends(data: bytes) -> Iterator[int]:
    """Where each constant of an OpenVINO model ends in its weights."""
    for each in _DATA.finditer(data):
        offset, size = _OFFSET.search(each[0]), _SIZE.search(each[0])
        if offset and size:
            yield int(offset[1]) + int(size[1])


def is_ollama_manifest(path: str) -> bool:
    """Whether a path is one of a manifest in a store of ollama."""
    return _MANIFESTS.fullmatch(path) is not None


def parse_ollama(path: str, size_bytes: int) -> Steps[Contents]:
    """Read a manifest of ollama; its needs are the blobs. What is no such manifest is of no format.

    Raises:
        Invalid: A blob's digest is no SHA-256.
    """
    match = _MANIFESTS.fullmatch(path)
    if match is None or size_bytes > DOCUMENT_BYTES_MAX:
        return Contents()
    try:
        document = json.loads((yield Span(0, size_bytes)))
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("layers"), list):
        raise Invalid(f"{path} is not a manifest of ollama: it has no list of layers", hint=leaving(path))
    needs = []
    for each in [*document["layers"], *([document["config"]] if isinstance(document.get("config"), dict) else [])]:
        digest, size = (each.get("digest"), each.get("size")) if isinstance(each, dict) else (None, None)
        found = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
        if found is None:
            raise Invalid(f"{path} names a blob {str(digest)[:80]!r}, which is no SHA-256", hint=leaving(path))
        needs.append(Need(f"{match['store']}blobs/sha256-{found[1]}", size if isinstance(size, int) else 0))
    return Contents("ollama", needs=tuple(needs))


def is_blob(path: str) -> bool:
    """Whether a path is one of a blob in a store of ollama."""
    return BLOB.fullmatch(path) is not None


def parse_blob(path: str, size_bytes: int) -> Steps[Contents]:
    """Check a blob of ollama: the model among them is GGUF, the others may be anything. Raises Corrupt."""
    if (yield Span(0, min(len(gguf.MAGIC), size_bytes))) != gguf.MAGIC:
        return Contents()
    return (yield from gguf.parse(path, size_bytes))


def _document(path: str, size_bytes: int) -> Steps[bytes]:
    if size_bytes > DOCUMENT_BYTES_MAX:
        raise Invalid(f"{path} has {size_bytes} bytes, at most {DOCUMENT_BYTES_MAX} are read of it", hint=leaving(path))
    return (yield Span(0, size_bytes))


def _json(path: str, data: bytes, what: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{path} is no {what}: {error}", hint=leaving(path)) from error


def _object(path: str, data: bytes, what: str) -> dict[str, Any]:
    document = _json(path, data, what)
    if not isinstance(document, dict):
        raise Invalid(f"{path} is no {what}: it is not a JSON object", hint=leaving(path))
    return document


def own_name(path: str) -> str:
    """A file's own name as it is written."""
    return posixpath.basename(path)
