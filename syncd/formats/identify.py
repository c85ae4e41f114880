"""What a file is by its content, whatever its name says, and whether loading it can run code.

A name proves nothing: a pickle under the name of a tokenizer is still a pickle. A file that cannot be identified, or
whose content is not what its own header says, is never data-only.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from syncd.errors import Corrupt, Invalid
from syncd.formats.contents import Contents
from syncd.formats.kinds import DATA_ONLY, MALFORMED
from syncd.formats.names import name_of
from syncd.formats.parsers import archives, gguf, hdf5, onnx, safetensors, tensorflow, tflite
from syncd.formats.parsers.protobuf import ProtobufError, fields
from syncd.formats.spans import Span, Steps

HEAD_BYTES: Final = 64 << 10
_PICKLE_BEGIN: Final = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
_TORCH_LEGACY: Final = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # the pickled magic number of torch.save before 1.6
_RUNS: Final = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "REDUCE", "BUILD", "EXT1"})
_MAGICS: Final[tuple[tuple[int, bytes, str], ...]] = (
    (0, b"\x7fELF", "executable"), (0, b"MZ", "executable"), (0, b"\xcf\xfa\xed\xfe", "executable"),
    (0, b"\xce\xfa\xed\xfe", "executable"), (0, b"\xca\xfe\xba\xbe", "executable"), (0, b"\x00asm", "executable"),
    (0, b"\x1f\x8b", "archive"), (0, b"BZh", "archive"), (0, b"\xfd7zXZ\x00", "archive"), (257, b"ustar", "archive"),
    (0, b"\x28\xb5\x2f\xfd", "archive"), (0, b"\x04\x22\x4d\x18", "archive"), (0, b"7z\xbc\xaf\x27\x1c", "archive"),
    (0, b"Rar!\x1a\x07", "archive"), (0, b"ZF", "joblib"), (0, b"\x89PNG\r\n\x1a\n", "image"),
    (0, b"\xff\xd8\xff", "image"), (0, b"GIF8", "image"), (8, b"WEBPVP8", "image"),
)  # fmt: skip
_CODE_NAMES: Final[Mapping[str, str]] = {
    ".py": "python", ".pyw": "python", ".pyc": "python", ".pyx": "python", ".ipynb": "python", ".egg": "python",
    ".sh": "script", ".bash": "script", ".bat": "script", ".cmd": "script", ".ps1": "script", ".js": "script",
    ".lua": "script", ".r": "script", ".so": "executable", ".dll": "executable", ".dylib": "executable",
    ".pyd": "executable", ".exe": "executable", ".jar": "executable",
}  # fmt: skip
_PICKLE_NAMES: Final = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".bin")
_ZLIB: Final = frozenset({b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"})
_CONTROLS_MAX: Final = 0x09  # below it, no byte is one of text


@dataclass(frozen=True, slots=True)
class Identified:
    """A file by its content. `reason` says why it is not data, for a person; `needs` are files that it names."""

    format: str
    reason: str = ""
    needs: tuple[str, ...] = ()

    @property
    def is_data(self) -> bool:
        """Whether loading it runs no code."""
        return self.format in DATA_ONLY


def identify(path: str, size_bytes: int) -> Steps[Identified]:
    """Identify a file. Reads its head, and what its format takes; later spans only, so that a stream will do."""
    if not size_bytes:
        return Identified("empty")
    head = yield Span(0, min(HEAD_BYTES, size_bytes))
    try:
        return (yield from _identified(path, size_bytes, head))
    except (Corrupt, Invalid) as error:
        return Identified(MALFORMED, error.message)


def _identified(path: str, size_bytes: int, head: bytes) -> Steps[Identified]:
    parser = _parser(path, size_bytes, head)
    if parser is not None:
        form, parse = parser
        found = yield from parse(path, size_bytes)
        if not found.is_whole:
            return Identified("unknown", f"it is {form}, and larger or newer than what is read")
        return Identified(form, needs=tuple(need.path for need in found.needs))
    if head.startswith(archives.BEGINS):
        form, reason = yield from archives.classify(path, size_bytes)
        return Identified(form, reason)
    if head.startswith(archives.NPY):
        return Identified(*archives.classify_array(head))
    if head.startswith(hdf5.MAGIC):
        return Identified("hdf5", "Keras keeps Python code in HDF5 attributes")
    if (simple := _by_head(path, head, size_bytes)) is not None:
        return simple
    if (yield from _is_checkpoint_index(path, size_bytes)):
        found = yield from tensorflow.parse_index(path, size_bytes, has_shards=True)
        return Identified("tensorflow-checkpoint", needs=tuple(need.path for need in found.needs))
    return Identified("unknown", "its format is not known")


def _parser(path: str, size_bytes: int, head: bytes) -> tuple[str, Callable[[str, int], Steps[Contents]]] | None:
    """The parser that its first bytes ask for; formats without first bytes of their own are asked for by name."""
    name = name_of(path)
    if head.startswith(gguf.MAGIC):
        return "gguf", gguf.parse
    length = int.from_bytes(head[: safetensors.LENGTH_BYTES], "little")
    if head[8:9] == b"{" and 1 < length <= min(size_bytes, safetensors.FORMAT_HEADER_BYTES_MAX):
        return "safetensors", safetensors.parse
    if head[4:8] == b"TFL3":
        return "tflite", tflite.parse
    if name.endswith(".onnx") and not head.startswith(_PICKLE_BEGIN):
        return "onnx", onnx.parse
    return None


def _by_head(path: str, head: bytes, size_bytes: int) -> Identified | None:
    name = name_of(path)
    if head.startswith(_PICKLE_BEGIN) or _is_text_pickle(head, size_bytes):
        return _pickled(head)
    for offset, magic, form in _MAGICS:
        if head.startswith(magic, offset):
            return Identified(form, "" if form in DATA_ONLY else f"its first bytes are those of {_article(form)}")
    if head[:2] in _ZLIB and name.endswith(_PICKLE_NAMES):
        return Identified("joblib", "it is compressed, as joblib does with a pickle")
    if name == tensorflow.SAVED_MODEL or name.endswith("saved_model.pbtxt"):
        return Identified("savedmodel", "a TensorFlow graph is a program, which can read and write files")
    return _by_text(name, head)


def _by_text(name: str, head: bytes) -> Identified | None:
    ending = name[name.rfind(".") :] if "." in name else ""
    if ending in _CODE_NAMES:
        return Identified(_CODE_NAMES[ending], "its name is one of code")
    if head.startswith(b"#!"):
        return Identified("script", "it begins with #!")
    if _is_text(head):
        if name.endswith(_PICKLE_NAMES[:3]):
            return Identified("pickle", "its name is one of pickles")
        return Identified("text")
    if _is_sentencepiece(head):
        return Identified("sentencepiece")
    return None


def _article(form: str) -> str:
    return {"executable": "a program", "archive": "an archive or compressed file", "joblib": "joblib"}[form]


def _pickled(head: bytes) -> Identified:
    if _TORCH_LEGACY in head[:64]:
        return Identified("torch", "torch.save writes pickles, which run code when they are loaded")
    if b"joblib.numpy_pickle" in head:
        return Identified("joblib", "joblib writes pickles, which run code when they are loaded")
    return Identified("pickle", "pickles run code when they are loaded")


def _is_text_pickle(head: bytes, size_bytes: int) -> bool:
    """Whether it is a pickle of protocol 0 or 1, which is text that imports something. Prose is not."""
    has_import, is_ended = False, False
    try:
        for opcode, _, _ in pickletools.genops(head):
            has_import = has_import or opcode.name in _RUNS
            is_ended = opcode.name == "STOP"
    except (ValueError, IndexError, OverflowError) as error:
        is_cut = len(head) < size_bytes and ("exhausted" in str(error) or "newline" in str(error))
        return has_import and is_cut
    return has_import and is_ended


def _is_text(head: bytes) -> bool:
    """UTF-8 without control characters; the last character may be cut off by the end of the head."""
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:
            return False
        text = head[: error.start].decode()
    return all(ord(each) >= _CONTROLS_MAX for each in set(text))


def _is_sentencepiece(head: bytes) -> bool:
    """A sentencepiece model begins with its pieces: each a message with the piece's text first."""
    at, seen = 0, 0
    while seen < 3 and at + 2 < len(head) and head[at] == 0x0A and head[at + 1] < 0x80:
        message = head[at + 2 : at + 2 + head[at + 1]]
        try:
            found = fields(message)
        except ProtobufError:
            return False
        if not isinstance(found.get(1), bytes):
            return False
        at, seen = at + 2 + head[at + 1], seen + 1
    return seen == 3


def _is_checkpoint_index(path: str, size_bytes: int) -> Steps[bool]:
    if not name_of(path).endswith(tensorflow.INDEX_ENDING) or size_bytes > HEAD_BYTES:
        return False
    return (yield from tensorflow.is_table(size_bytes))
