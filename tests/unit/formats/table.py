"""Inputs × outcome of the check of a version: `python -m tests.unit.formats.table` prints it as it is now."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from syncd.artifact.names import ModelName
from syncd.cli.exit_codes import code_of
from syncd.errors import SyncdError
from syncd.reconcile.discovery.inspection import inspect
from syncd.registry.settings import DirectorySettings
from syncd.registry.sources.directory import DirectoryRegistry

from tests.unit.formats import written
from tests.unit.formats.reading import sample
from tests.unit.formats.written import KNOWN, WRITTEN
from tests.unit.registry.trees import mark, write

Files = Mapping[str, bytes]
WHOLE, WARNED = "accepted", "accepted, with a warning"
DAMAGED, LACKING = "refused (8)", "refused (2)"

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"7" * 64 + b"\nsize 499723\n"
XET = b"# xet version 0\nfilesize = 499723\nhash = '" + b"7" * 64 + b"'\n"
HTML = b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Please log in</body></html>\n"
XML = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code></Error>\n'
ERRORS = {
    "Hub": b'{"error":"Repository not found"}',
    "OCI": b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required","detail":[]}]}',
    "ModelScope": b'{"Code":10010205001,"Data":null,"Message":"not found","RequestId":"x","Success":false}',
    "GitHub": b'{"message":"Not Found","documentation_url":"https://docs.example","status":"404"}',
    "FastAPI": b'{"detail":"Not Found"}',
    "OpenAI": b'{"error":{"message":"Incorrect API key","type":"invalid_request_error","code":"invalid_api_key"}}',
    "a gateway": b'{"code":"403","msg":"no permission"}',
    "MLflow": b'{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"No such artifact"}',
    "Spring": b'{"timestamp":1,"status":404,"error":"Not Found","path":"/x"}',
}
POINTED = (
    "model.safetensors", "model.gguf", "model.GGUF", "model.onnx", "model.onnx_data", "tokenizer.model", "spiece.model",
    "tokenizer.json", "vocab.txt", "merges.txt", "model.ckpt", "model.pt", "tf_model.h5", "flax_model.msgpack",
    "model.pkl", "pytorch_model.bin", "openvino_model.bin", "saved_model.pb", "weights.npz", "README.md", "LICENSE",
    "data/train.parquet", "no-ending", "a.mp4",
)  # fmt: skip
SHARD = written.safetensors_file()


@dataclass(frozen=True)
class Row:
    kind: str
    what: str
    files: Files
    outcome: str
    says: str = ""


@cache
def whole(name: str) -> bytes:
    with TemporaryDirectory() as folder:
        return {**WRITTEN, **KNOWN}[name](Path(folder))


@cache
def onnx_files() -> Files:
    with TemporaryDirectory() as folder:
        return written.onnx_with_data(Path(folder))


def index(*names: str) -> bytes:
    return json.dumps({"metadata": {}, "weight_map": {f"t{n}": name for n, name in enumerate(names)}}).encode()


def rows() -> Iterator[Row]:
    """The table."""
    yield from _formats()
    yield from _substitutes()
    yield from _shards()
    yield from _together()
    yield from _openvino_and_ollama()


def _formats() -> Iterator[Row]:
    for name in (*WRITTEN, *KNOWN):
        data = whole(name)
        beside = {"variables.data-00000-of-00001": sample("variables.data-00000-of-00001")}
        more = beside if name == "variables.index" else {}
        yield Row("whole file", name, {name: data, **more}, WHOLE)
        if name in WRITTEN:
            for part, size_bytes in (("half", len(data) // 2), ("all but 64 bytes", len(data) - 64), ("8 bytes", 8)):
                yield Row("cut file", f"{name}, {part}", {name: data[:size_bytes], **more}, DAMAGED)
            yield Row("zeros", name, {name: bytes(len(data)), **more}, DAMAGED)
    for name in ("model.safetensors", "model.pt", "model.onnx", "model.bin", "data.pkl", "a.npy", "model.onnx_data"):
        yield Row("empty file", name, {name: b""}, DAMAGED, "is empty")
    for name in ("__init__.py", "added_tokens.json", ".gitkeep", "vocab.txt", "notes"):
        yield Row("empty file", name, {name: b"", "config.json": b"{}"}, WHOLE)
    for name in ("weights.bin", "model.engine", "blob", "model.dat", "trainer_state.bin"):
        yield Row("opaque", f"{name}, any bytes", {name: bytes(range(256))}, WHOLE)
    yield Row("trailing bytes", "model.safetensors", {"model.safetensors": SHARD + b"x"}, DAMAGED, "its tensors end at")
    yield Row("trailing bytes", "model.gguf", {"model.gguf": whole("model.gguf") + bytes(100)}, WHOLE)


def _substitutes() -> Iterator[Row]:
    for name in POINTED:
        yield Row("git LFS pointer", name, {name: LFS, "config.json": b"{}"}, DAMAGED, "pointer of git LFS")
    for name in ("model.safetensors", "tokenizer.json", "notes.txt"):
        yield Row("Xet pointer", name, {name: XET, "config.json": b"{}"}, DAMAGED, "pointer of Xet")
    yield Row("pointer", "a document about them", {"README.md": b"How LFS works:\n" + LFS * 9}, WHOLE)
    weights = ("model.safetensors", "model.gguf", "model.pt", "weights.bin", "flax_model.msgpack", "tokenizer.model",
               "vocab.txt", "tokenizer.json", "config.json", "generation_config.json", "params.yaml")  # fmt: skip
    for name in weights:
        yield Row("HTML page", name, {name: HTML, "a": b"1"}, DAMAGED, "is an HTML page")
        yield Row("XML error", name, {name: XML, "a": b"1"}, DAMAGED, "is an XML document")
    for server, data in ERRORS.items():
        for name in ("model.safetensors", "weights.bin", "tokenizer.json", "config.json"):
            yield Row(
                "JSON error", f"{name}, of {server}", {name: data, "a": b"1"}, DAMAGED, "is an error that is JSON"
            )
    for name in ("index.html", "README.md", "data.xml", "page.htm"):
        yield Row("HTML page", name, {name: HTML}, WHOLE)
        yield Row("XML document", name, {name: XML}, WHOLE)
    harmless = (
        b"{}", b'{"model_type": "bert", "status": "ok"}', b'{"type": "a"}', b"[]",
        b'{"error": 0.05}', b'{"errors": []}',
        b'{"title": "a set", "details": "more"}', b'{"message": "hello", "code": 0}',
        b'{"status": 200, "message": "ok"}',
        b'{"error": "x", "vocab_size": 5}', b'{"success": true, "message": "trained"}',
    )  # fmt: skip
    for data in harmless:
        yield Row("JSON", f"config.json, {data.decode()}", {"config.json": data}, WHOLE)
    yield Row("text", "vocab.txt of tags", {"vocab.txt": b"<pad>\n<s>\n</s>\n<unk>\n"}, WHOLE)


def _shards() -> Iterator[Row]:
    one, two = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    nought = "model-00000-of-00002.safetensors"
    name = "model.safetensors.index.json"
    both = {one: SHARD, two: SHARD}
    yield Row("shards", "an index and its shards", {**both, name: index(one, two)}, WHOLE)
    yield Row("shards", "counted from 0, with an index", {nought: SHARD, one: SHARD, name: index(nought, one)}, WHOLE)
    yield Row("shards", "counted from 0, without an index", {nought: SHARD, one: SHARD}, WHOLE)
    below = {f"shards/{one}": SHARD, f"shards/{two}": SHARD}
    yield Row("shards", "in a sub-folder", {**below, name: index(*below)}, WHOLE)
    yield Row("shards", "left over, of another count", {**both, "model-00003-of-00005.safetensors": SHARD,
              name: index(one, two)}, WARNED, "is not named by")  # fmt: skip
    yield Row("shards", "one lost, with an index", {one: SHARD, name: index(one, two)}, LACKING, f"{two} is missing")
    yield Row("shards", "one lost, without an index", {one: SHARD}, LACKING, f"{two} is missing")
    yield Row("shards", "an index left over from before", {"model-00001-of-00001.safetensors": SHARD,
              name: index("model-00001-of-00013.safetensors")}, LACKING, "model-00001-of-00013")  # fmt: skip
    yield Row(
        "shards", "six digits", {"m-00001-of-000002.safetensors": SHARD, "m-00002-of-000002.safetensors": SHARD}, WHOLE
    )
    yield Row("shards", "six digits, one lost", {"m-00001-of-000002.safetensors": SHARD}, LACKING, "m-00002-of-000002")
    for ending, shard in (("gguf", whole("model.gguf")), ("bin", b"1"), ("parquet", b"1"), ("fp16.safetensors", SHARD)):
        yield Row("shards", f".{ending}, one lost", {f"x-00002-of-00003.{ending}": shard,
                  f"x-00003-of-00003.{ending}": shard}, LACKING, f"x-00001-of-00003.{ending} is missing")  # fmt: skip
    for what, index_name, ending in (
        ("PyTorch", "pytorch_model.bin.index.json", "bin"),
        ("TensorFlow", "tf_model.h5.index.json", "h5"),
        ("Flax", "flax_model.msgpack.index.json", "msgpack"),
        ("a variant", "diffusion.safetensors.index.fp16.json", "safetensors"),
    ):
        data = {"bin": b"1", "msgpack": b"1", "h5": whole("model.h5"), "safetensors": SHARD}[ending]
        yield Row("index", f"of {what}", {f"a.{ending}": data, index_name: index(f"a.{ending}")}, WHOLE)
        yield Row(
            "index", f"of {what}, its shard lost", {"a": b"1", index_name: index(f"a.{ending}")}, LACKING, "is missing"
        )
    for outside in ("../x.safetensors", "/etc/passwd", "a\\b", "", "a/../../x"):
        yield Row("index", f"names {outside!r}", {"a": b"1", name: index(outside)}, LACKING, "not in its own folder")
    for data in (b"{", b"[]", b"{}", b'{"weight_map": []}'):
        yield Row("index", f"is {data.decode()}", {"a": b"1", name: data}, LACKING, "is not an index")
    single = {"model.safetensors": SHARD}
    yield Row("index", "beside a single file", {**single, **both, name: index(one, two)}, WARNED, "same weights twice")
    yield Row("index", "names the single file", {**single, name: index("model.safetensors")}, WHOLE)
    yield Row("index", "stale, beside a single file", {**single, name: index(one)}, LACKING, f"{one} is missing")


def _together() -> Iterator[Row]:
    model, data = onnx_files()["model.onnx"], onnx_files()["model.onnx_data"]
    yield Row("ONNX data", "there", {"model.onnx": model, "model.onnx_data": data}, WHOLE)
    yield Row("ONNX data", "lost", {"model.onnx": model}, LACKING, "model.onnx_data is missing")
    yield Row("ONNX data", "cut", {"model.onnx": model, "model.onnx_data": data[:-1]}, DAMAGED, "model.onnx_data has")
    yield Row(
        "ONNX data",
        "in another folder",
        {"onnx/model.onnx": model, "model.onnx_data": data},
        LACKING,
        "onnx/model.onnx_data",
    )
    again = written.onnx_in_safetensors({"licence": "apache-2.0"})
    yield Row("ONNX in safetensors", "as it was made", written.onnx_in_safetensors(), WHOLE)
    yield Row("ONNX in safetensors", "whose header has grown since", again, DAMAGED, "model.onnx has a tensor at byte")
    variables, shard = sample("variables.index"), sample("variables.data-00000-of-00001")
    saved = {"saved_model.pb": sample("saved_model.pb"), "variables/variables.index": variables}
    place = "variables/variables.data-00000-of-00001"
    yield Row("SavedModel", "whole", {**saved, place: shard}, WHOLE)
    yield Row("SavedModel", "its shard lost", saved, LACKING, f"{place} is missing")
    yield Row("SavedModel", "its shard cut", {**saved, place: shard[:-1]}, DAMAGED, f"{place} has")
    yield Row(
        "SavedModel",
        "its index lost",
        {"saved_model.pb": saved["saved_model.pb"], place: shard},
        LACKING,
        "variables.index is missing",
    )
    yield Row(
        "checkpoint", "model.ckpt.*", {"model.ckpt.index": variables, "model.ckpt.data-00000-of-00001": shard}, WHOLE
    )
    yield Row("index of another kind", "faiss.index", {"faiss.index": b"IxF2" + bytes(500)}, WHOLE)
    pipeline = json.dumps({
        "_class_name": "P", "unet": ["diffusers", "UNet2DConditionModel"], "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"], "tokenizer": ["transformers", "CLIPTokenizerFast"], "flag": True,
    }).encode()  # fmt: skip
    parts = {"unet/config.json": b"{}", "unet/model.safetensors": SHARD, "scheduler/scheduler_config.json": b"{}",
             "tokenizer/config.json": b"{}", "model_index.json": pipeline}  # fmt: skip
    yield Row("pipeline", "whole", parts, WHOLE)
    for gone, says in (("unet/model.safetensors", "unet/'s file of weights is missing"),
                       ("scheduler/scheduler_config.json", "scheduler/ is missing"),
                       ("tokenizer/config.json", "tokenizer/ is missing")):  # fmt: skip
        left = {path: each for path, each in parts.items() if path != gone}
        yield Row("pipeline", f"without {gone}", left, LACKING, says)
    modules = json.dumps([
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]).encode()  # fmt: skip
    yield Row("modules", "whole", {"modules.json": modules, "1_Pooling/config.json": b"{}"}, WHOLE)
    yield Row("modules", "without 1_Pooling", {"modules.json": modules}, LACKING, "1_Pooling/ is missing")
    embedding = {"config_sentence_transformers.json": b"{}", "1_Pooling/config.json": b"{}"}
    yield Row("modules", "listed", {**embedding, "modules.json": modules}, WHOLE)
    yield Row("modules", "not listed", embedding, WARNED, "there is no modules.json")
    below = {f"text/{path}": data for path, data in embedding.items()}
    yield Row("modules", "listed elsewhere", {**below, "modules.json": b"[]"}, WARNED, "no text/modules.json")
    adapter = b'{"base_model_name_or_path": "acme/chat"}'
    for name in ("adapter_model.safetensors", "adapters.safetensors"):
        yield Row("adapter", f"with {name}", {"adapter_config.json": adapter, name: SHARD}, WHOLE)
    yield Row(
        "adapter", "without weights", {"adapter_config.json": adapter}, LACKING, "adapter_model.safetensors is missing"
    )
    yield Row(
        "adapter",
        "beside a base alone",
        {"adapter_config.json": adapter, "model.safetensors": SHARD},
        LACKING,
        "is missing",
    )


def _openvino_and_ollama() -> Iterator[Row]:
    data = b'<data element_type="f32" shape="4" offset="0" size="16" />'
    const = b'<layers><layer id="0" type="Const">' + data + b"</layer></layers>"
    net = b'<?xml version="1.0"?>\n<net name="m" version="11">' + const + b"</net>\n"
    bare = b'<?xml version="1.0"?>\n<net name="m" version="11"><layers></layers></net>\n'
    yield Row("OpenVINO", "whole", {"m.xml": net, "m.bin": bytes(16)}, WHOLE)
    yield Row("OpenVINO", "without its .bin", {"m.xml": net}, LACKING, "m.bin is missing")
    yield Row("OpenVINO", "its .bin cut", {"m.xml": net, "m.bin": bytes(15)}, DAMAGED, "m.bin has 15 bytes")
    yield Row("OpenVINO", "its .bin empty", {"m.xml": net, "m.bin": b""}, DAMAGED, "m.bin has 0 bytes")
    yield Row("OpenVINO", "without constants, its .bin empty", {"m.xml": bare, "m.bin": b""}, WHOLE)
    yield Row("OpenVINO", "cut", {"m.xml": net[:-9], "m.bin": bytes(16)}, DAMAGED, "does not end with </net>")
    blob, text = whole("model.gguf"), b'{"model_format":"gguf"}'
    names = {data: f"blobs/sha256-{hashlib.sha256(data).hexdigest()}" for data in (blob, text)}
    layers = [{"size": len(each), "digest": f"sha256:{hashlib.sha256(each).hexdigest()}"} for each in (blob, text)]
    manifest = json.dumps({"schemaVersion": 2, "config": layers[1], "layers": layers[:1]}).encode()
    store = {"manifests/registry.local/library/m/latest": manifest, names[blob]: blob, names[text]: text}
    yield Row("ollama", "whole", store, WHOLE)
    for lost, what in ((blob, "the model"), (text, "the configuration")):
        left = {path: each for path, each in store.items() if each is not lost}
        yield Row("ollama", f"without {what}", left, LACKING, "is missing")
    yield Row("ollama", "the model cut", {**store, names[blob]: blob[: len(blob) // 2]}, DAMAGED, "its ")


def outcome(row: Row, top: Path) -> tuple[str, str]:
    """What becomes of a row's files as a version of a directory, and the first line of what is said."""
    write(top / "llm/v1", row.files)
    mark(top / "llm/v1", "SHA256SUMS")
    registry, model = DirectoryRegistry(DirectorySettings(top, ("*",), 0)), ModelName("llm")
    try:
        found = inspect(registry, model, registry.resolve(model, "v1"), threading.Event())
    except SyncdError as error:
        return f"refused ({int(code_of(error))})", error.message
    return (WARNED, found.warnings[0]) if found.warnings else (WHOLE, "")


def main() -> None:
    """Print the table as Markdown."""
    sys.stdout.write("| kind | input | outcome | what is said |\n| --- | --- | --- | --- |\n")
    for row in rows():
        with TemporaryDirectory() as folder:
            came, said = outcome(row, Path(folder))
        cells = (row.kind, row.what, came, said[:110])
        sys.stdout.write(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |\n")


if __name__ == "__main__":
    main()
