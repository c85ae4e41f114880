"""A file is what its content is, whatever its name says; what can run code, or is not known, is never data."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import random
import tarfile
import zipfile
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from syncd.formats.identify import Identified, identify
from syncd.formats.kinds import CODE_CARRYING, DATA_ONLY, MALFORMED
from syncd.formats.spans import Passing, Ranges

from tests.unit.formats import written
from tests.unit.formats.reading import Reads, sample

SAVED = written.safetensors_file()


class Payload:
    """Runs a command when it is loaded: a pickle of it is what a hostile model file is."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (eval, ("1 + 1",))


def array(value: object, **options: bool) -> bytes:
    file = io.BytesIO()
    np.save(file, value, **options)  # type: ignore[arg-type]
    return file.getvalue()


def arrays(*, packed: bool = False, **values: object) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(file, **values)  # type: ignore[arg-type]
    return file.getvalue()


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def keras(configuration: object, more: Mapping[str, bytes] | None = None) -> bytes:
    files = {"metadata.json": b"{}", "config.json": json.dumps(configuration).encode(), "model.weights.h5": b"\0" * 64}
    return zipped(files | dict(more or {}))


def tarred(name: str, data: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def two_faced() -> bytes:
    """An archive whose directory names another configuration than the one that is read first."""
    plain = keras({"class_name": "Sequential", "module": "keras"})
    other = zipped({"config.json": json.dumps({"class_name": "Lambda"}).encode()})
    begin = other.rindex(b"PK\x01\x02")
    end = other.rindex(b"PK\x05\x06")
    directory = bytearray(other[begin:end])
    directory[42:46] = len(plain).to_bytes(4, "little")
    closing = bytearray(other[end:])
    closing[16:20] = (len(plain) + begin).to_bytes(4, "little")
    return plain + other[:begin] + bytes(directory) + bytes(closing)


PAYLOAD = pickle.dumps(Payload())
PLAIN: Mapping[str, object] = {"class_name": "Sequential", "module": "keras", "config": {"layers": []}}
SENTENCES = b"".join(b"\x0a" + bytes([len(m)]) + m for m in (b"\x0a\x03<s>\x15\0\0\0\0",) * 4)

TABLE: Mapping[str, tuple[str, bytes, str]] = {
    "safetensors": ("model.safetensors", SAVED, "safetensors"),
    "safetensors under another name": ("model.bin", SAVED, "safetensors"),
    "safetensors that is cut off": ("model.bin", SAVED[:-1], MALFORMED),
    "safetensors with a pickle behind": ("model.bin", SAVED + PAYLOAD, MALFORMED),
    "onnx": ("model.onnx", written.onnx_file(), "onnx"),
    "numpy": ("a.npy", array(np.zeros(3)), "numpy"),
    "numpy, structured": ("a.npy", array(np.zeros(3, dtype=[("O", "<f4"), ("b", "U3")])), "numpy"),
    "numpy, objects": ("a.npy", array(np.array([Payload()], dtype=object), allow_pickle=True), "numpy-objects"),
    "numpy, objects in a field": (
        "a.npy",
        array(np.array([(1, None)], dtype=[("a", "i4"), ("b", "O")]), allow_pickle=True),
        "numpy-objects",
    ),
    "numpy, header cut off": ("a.npy", array(np.zeros(3))[:40], MALFORMED),
    "npz": ("a.npz", arrays(a=np.zeros(3), b=np.ones((2, 2))), "numpy"),
    "npz, packed": ("a.npz", arrays(packed=True, a=np.zeros(30000)), "numpy"),
    "npz, objects": ("a.npz", arrays(a=np.zeros(3), b=np.array([Payload()], dtype=object)), "numpy-objects"),
    "npz with something else": ("a.npz", zipped({"a.npy": array(np.zeros(3)), "b.pkl": PAYLOAD}), "archive"),
    "keras": ("m.keras", keras(PLAIN), "keras"),
    "keras, as it writes": ("m.keras", sample("keras.keras"), "keras"),
    "keras, Lambda": ("m.keras", keras({**PLAIN, "config": [{"class_name": "Lambda"}]}), "keras-code"),
    "keras, escaped Lambda": (
        "m.keras",
        zipped({"metadata.json": b"{}", "config.json": b'{"class_name": "\\u004cambda"}', "model.weights.h5": b"0"}),
        "keras-code",
    ),
    "keras, another module": ("m.keras", keras({"class_name": "function", "module": "os"}), "keras-code"),
    "keras, a pickle inside": ("m.keras", keras(PLAIN, {"assets/a.pkl": PAYLOAD}), "keras-code"),
    "keras of two faces": ("m.keras", two_faced(), MALFORMED),
    "hdf5": ("m.h5", sample("keras-legacy.h5"), "hdf5"),
    "saved model": ("saved_model.pb", sample("saved_model.pb"), "savedmodel"),
    "tflite": ("m.tflite", sample("tensorflow.tflite"), "tflite"),
    "torch": ("pytorch_model.bin", sample("torch-zip.pt"), "torch"),
    "torch as a picture": ("logo.png", sample("torch-zip.pt"), "torch"),
    "torch, before 1.6": ("m.pt", sample("torch-legacy.pt"), "torch"),
    "torchscript": ("m.pt", sample("torchscript.pt"), "torchscript"),
    "pickle": ("m.pkl", PAYLOAD, "pickle"),
    "pickle as a tokenizer": ("tokenizer.model", PAYLOAD, "pickle"),
    "pickle of protocol 0": ("notes.txt", pickle.dumps(Payload(), 0), "pickle"),
    "pickle of protocol 0, longer than is read": (
        "notes.txt", b"cos\nsystem\n(S'" + b"a" * 100_000 + b"'\ntR.", "pickle",
    ),
    "joblib, packed": ("m.joblib", b"\x78\x9c" + b"\x01" * 40, "joblib"),
    "zip": ("m.zip", zipped({"a.txt": b"a"}), "archive"),
    "zip in zip": ("m.zip", zipped({"b.zip": zipped({"m.pkl": PAYLOAD})}), "archive"),
    "zip that is cut off": ("m.zip", zipped({"a.txt": b"a" * 400})[:-60], MALFORMED),
    "tar": ("m.tar", tarred("m.pkl", PAYLOAD), "archive"),
    "gzip": ("tokens.json", gzip.compress(b"{}"), "archive"),
    "program": ("tool", b"\x7fELF" + b"\0" * 60, "executable"),
    "python": ("modeling.py", b"import os\n", "python"),
    "shell": ("run", b"#!/bin/sh\nls\n", "script"),
    "text": ("README.md", b"copy this.\nIt is a model.\n", "text"),
    "text, cut in a letter": ("a.txt", b"a" * 65535 + "ä".encode(), "text"),
    "json": ("config.json", b'{"a": 1}', "text"),
    "sentencepiece": ("spiece.model", SENTENCES, "sentencepiece"),
    "nothing": ("a.lock", b"", "empty"),
    "noise": ("model.bin", random.Random(7).randbytes(100_000), "unknown"),
}  # fmt: skip


def by_ranges(path: str, data: bytes) -> Identified:
    return Ranges(path, Reads(data).open_at).run(identify(path, len(data)))


def as_it_passes(path: str, data: bytes, piece_bytes: int = 1000) -> Identified | None:
    passing = Passing(identify(path, len(data)))
    for at in range(0, len(data), piece_bytes):
        passing.add(memoryview(data)[at : at + piece_bytes])
    return passing.end()


@pytest.mark.parametrize("name", TABLE)
def test_a_file_is_what_its_content_is(name: str) -> None:
    path, data, wanted = TABLE[name]
    found = by_ranges(path, data)
    assert found.format == wanted, found
    assert found.is_data == (wanted in DATA_ONLY)
    assert found.is_data or found.reason
    assert as_it_passes(path, data) == found


def test_every_format_is_of_one_kind_and_in_the_table() -> None:
    assert not DATA_ONLY & CODE_CARRYING
    shown = {wanted for _, _, wanted in TABLE.values()}
    others = {"gguf", "raw", "tensorflow-checkpoint", "image"}  # below
    assert shown | others == DATA_ONLY | CODE_CARRYING | {MALFORMED}


def test_the_head_of_a_large_file_is_all_that_is_read() -> None:
    data = SAVED[:8] + SAVED[8:]
    big = b"\x80\x04" + bytes(50 << 20)
    reads = Reads(big)
    assert Ranges("m.pkl", reads.open_at).run(identify("m.pkl", len(big))).format == "pickle"
    assert reads.bytes_read <= 1 << 20
    assert by_ranges("x", data).format == "safetensors"


def test_other_data_is_identified(tmp_path_factory: pytest.TempPathFactory) -> None:
    model = written.gguf_file(tmp_path_factory.mktemp("gguf"))
    assert by_ranges("m.bin", model).format == "gguf"
    assert by_ranges("a.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 20).format == "image"
    index = sample("variables.index")
    found = by_ranges("variables/variables.index", index)
    assert found.format == "tensorflow-checkpoint"
    assert found.needs == ("variables/variables.data-00000-of-00001",)


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")  # of pickletools
@given(st.sampled_from(sorted(TABLE)), st.integers(0, 1 << 30), st.binary(max_size=8), st.sampled_from((0, 8)))
@settings(max_examples=150, deadline=None)
def test_damage_ends_in_an_answer_and_makes_no_code_data(name: str, place: int, piece: bytes, cut: int) -> None:
    path, data, _ = TABLE[name]
    at = place % (len(data) + 1)
    changed = data[:at] + piece + data[at + len(piece) + cut :]
    found = by_ranges(path, changed)
    assert found.format in DATA_ONLY | CODE_CARRYING | {MALFORMED}
    if changed.startswith(b"\x80\x04"):
        assert not found.is_data
