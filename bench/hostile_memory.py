"""Peak memory of inputs from outside: each kind of source × wide, deep, long and many, in a process of its own.

`python -m bench.hostile_memory` prints a table: what became of each input, the peak above idle, and the time. It
returns 1 if an input that was refused, or a listing of at most 100 000 files, took more than `PEAK_MIB_MAX`, or a
million files more than `MILLION_MIB_MAX`.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import itertools
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from syncd.api.webhooks.payloads import hints
from syncd.api.webhooks.signatures import SignedRequest
from syncd.artifact.names import ModelName
from syncd.errors import NotFound, SyncdError
from syncd.formats.check import check
from syncd.formats.spans import Pull, Ranges
from syncd.http.client import HttpClient, HttpSettings
from syncd.http.decompress import DecompressedStream
from syncd.reconcile.discovery.inspection import inspect
from syncd.registry.oci.registry import OciRegistry
from syncd.registry.oci.tarball import members
from syncd.registry.rules.filtered import FilteredRegistry
from syncd.registry.settings import (
    DirectorySettings,
    HubSettings,
    IndexSettings,
    MlflowSettings,
    ModelScopeSettings,
    OciSettings,
    PaiSettings,
    PrefixSettings,
)
from syncd.registry.sources.directory import DirectoryRegistry
from syncd.registry.sources.huggingface import HubRegistry
from syncd.registry.sources.index import IndexRegistry
from syncd.registry.sources.mlflow import MlflowRegistry
from syncd.registry.sources.modelscope import ModelScopeRegistry
from syncd.registry.sources.oss_prefix import PrefixRegistry
from syncd.registry.sources.pai import PaiRegistry, Registered
from syncd.retry import Retry
from syncd.values.source import Stream
from tests.emulators.web import Reply, Web

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PEAK_MIB_MAX: Final = 64
MILLION: Final = "directory"
MILLION_MIB_MAX: Final = 286  # 300 MB
FILES: Final = 100_000
SHAPES: Final = ("wide", "deep", "long", "many")
MIB: Final = 1 << 20
SDXL: Final = ModelName("sdxl")
REGION: Final = "cn-hangzhou"
PIECE_BYTES: Final = 60_000
PACKED_BYTES_MAX: Final = 256 * MIB

Pieces = Iterator[bytes]
Read = Callable[[str], object]


def shaped(shape: str, size_bytes: int) -> Pieces:
    """About so many bytes of JSON that is wide, deep or long."""
    times = max(1, size_bytes // PIECE_BYTES)
    if shape == "wide":
        return itertools.chain([b"["], itertools.repeat(b"[]," * 20_000, times), [b"0]"])
    if shape == "deep":
        return itertools.repeat(b'{"a":' * 12_000, times)
    return itertools.chain([b'["'], itertools.repeat(b"a" * PIECE_BYTES, times), [b'"]'])


def listing(head: str, row: str, tail: str, count: int) -> Pieces:
    """A listing of so many files, each a row of JSON."""
    yield head.encode()
    for n in range(count):
        fields = {"path": f"unet/model-{n:07}.safetensors", "n": n, "sha": _sha(n)}
        yield (("," if n else "") + row % fields).encode()
    yield tail.encode()


def json_of(head: str, row: str, tail: str, size_bytes: int, shape: str) -> Pieces:
    return listing(head, row, tail, FILES) if shape == "many" else shaped(shape, size_bytes)


def _sha(n: int) -> str:
    return hashlib.sha256(b"%d" % n).hexdigest()


ROW: Final = '{"path":"%(path)s","size":%(n)d,"sha256":"%(sha)s"}'
LAYER: Final = ('{"mediaType":"application/octet-stream","digest":"sha256:%(sha)s","size":%(n)d,'
                '"annotations":{"org.opencontainers.image.title":"%(path)s"}}')  # fmt: skip
MODELS: Final = '{"schema":"syncd/v1","models":[{"name":"sdxl","versions":[{"version":"v1","files":['
OCI: Final = '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":['
INDEX: Final = partial(json_of, MODELS, ROW, "]}]}]}", 60 * MIB)
MANIFEST: Final = partial(json_of, '{"files":[', ROW, "]}", 60 * MIB)
LAYERS: Final = partial(json_of, OCI, LAYER, "]}", 60 * MIB)
SHARDS: Final = partial(json_of, '{"weight_map":{', '"model.layers.%(n)d.%(path)s":"a.safetensors"', "}}", 60 * MIB)
DELIVERY: Final = partial(json_of, "[", '{"%(n)d":1}', "]", MIB)


def sums(shape: str) -> Pieces:
    if shape == "many":
        return (f"{_sha(n)}  unet/{n:07}.bin\n".encode() for n in range(FILES))
    line = {"wide": b"\n", "deep": b"0" * 64 + b"  " + b"a/" * 3000 + b"\n", "long": b"a" * 1000}[shape]
    return itertools.repeat(line * max(1, PIECE_BYTES // len(line)), 60 * MIB // PIECE_BYTES)


def safetensors(shape: str) -> Pieces:
    row = '"model.layers.%(n)d.weight":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    header = b"".join(json_of("{", row, "}", 14 * MIB, shape))
    if not header.startswith(b"{"):
        header = b'{"a":' + header
    return iter([struct.pack("<Q", len(header)), header])


def gguf(shape: str) -> Pieces:
    """Pairs of text; an array within arrays; a text without an end; an array of texts."""
    head = struct.pack("<4sIQQ", b"GGUF", 3, 0, 1 << 20 if shape == "wide" else 1)
    text = struct.pack("<Q1s", 1, b"a")
    if shape == "wide":
        return itertools.chain([head], (struct.pack("<Q8sIB", 8, b"%08d" % n, 0, 1) for n in range(1 << 20)))
    if shape == "deep":
        return itertools.chain([head, text], itertools.repeat(struct.pack("<IQ", 9, 1) * 1000, 1000))
    if shape == "long":
        return itertools.chain([head, struct.pack("<Q", 60 * MIB)], itertools.repeat(b"a" * PIECE_BYTES, 1049))
    return itertools.chain([head, text, struct.pack("<IIQ", 9, 8, 1 << 20)], itertools.repeat(text * 1000, 1049))


def tar(shape: str) -> Pieces:
    """Many files; names of many directories; a name of a megabyte; a hundred thousand files."""
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=tarfile.PAX_FORMAT if shape == "long" else tarfile.GNU_FORMAT
    ) as made:
        for n in range({"wide": 150_000, "deep": 1000, "long": 1, "many": FILES - 1}[shape]):
            name = {"deep": "a/" * 500, "long": "a" * MIB}.get(shape, "unet/") + f"{n:07}.bin"
            made.addfile(tarfile.TarInfo(name))
    return iter([out.getvalue()])


def bomb(shape: str) -> Pieces:
    """Gigabytes of zeros in a tar's one file; the other shapes are the tars, compressed."""
    if shape != "wide":
        return iter([gzip.compress(b"".join(tar(shape)), 6, mtime=0)])
    return iter([gzip.compress(b"\1" * (512 * MIB), 6, mtime=0)])


def packed_zstd(shape: str) -> Pieces:
    """As `bomb`, with zstd."""
    return iter([zstd.compress(b"\1" * (512 * MIB) if shape == "wide" else b"".join(tar(shape)))])


@dataclass(frozen=True, slots=True)
class SeenObject:
    """An object of a bucket."""

    key: str
    size_bytes: int = 1
    crc64: int | None = 7
    modified_at: datetime = datetime(2026, 1, 1, tzinfo=UTC)


class Bucket:
    """Objects of a shape, each made when it is listed, as a store makes them of pages of a thousand."""

    def __init__(self, shape: str) -> None:
        """A million files; directories too deep; names too long; a hundred thousand files with the marker."""
        between, self._count = {
            "wide": ("unet/", 10 * FILES),
            "deep": ("a/" * 100, FILES),
            "long": ("a" * 800 + "/", FILES),
            "many": ("unet/", FILES - 1),
        }[shape]
        self._top = f"{SDXL}/v1/{between}"

    def list(self, prefix: str) -> Iterator[SeenObject]:
        """The objects, below the one version that there is."""
        yield SeenObject(f"{prefix}.complete")
        yield from (SeenObject(f"{self._top}{n:07}.bin") for n in range(self._count))

    def stat(self, key: str) -> SeenObject:
        """An object, with its checksum."""
        return SeenObject(key)

    def open(self, key: str, offset_bytes: int = 0, until_bytes: int | None = None) -> Stream:
        """Nothing is read of these."""
        del until_bytes
        raise NotFound(f"{key} at {offset_bytes}")


class Workspace:
    """A workspace of PAI with one version."""

    def models(self, name: str | None = None) -> Iterator[tuple[str, str]]:
        """The one model."""
        yield name or SDXL, "m-1"

    def approved(self, model_id: str) -> Iterator[Registered]:
        """The one version."""
        yield self.version(model_id, "v1")

    def version(self, model_id: str, name: str) -> Registered:
        """A version in the bucket."""
        place = f"oss://{model_id}.oss-{REGION}.aliyuncs.com/{SDXL}/v1/"
        return Registered(name, place, "Approved", "2026-01-01T00:00:00Z")


def _shape(shape: str) -> Pieces:
    return iter([shape.encode()])


def bucket_at(place: str) -> Bucket:
    return Bucket((Path(place) / "input").read_text(encoding="ascii"))


def prefix(place: str) -> object:
    registry = PrefixRegistry(PrefixSettings("models", REGION), bucket_at(place))
    return registry.listing(SDXL, registry.resolve(SDXL, "v1"))


def workspace(place: str) -> object:
    registry = PaiRegistry(PaiSettings("", "1", REGION), Workspace(), lambda _: bucket_at(place))
    return registry.listing(SDXL, registry.resolve(SDXL, "v1"))


def over_http(read: Callable[[HttpClient, str], object]) -> Read:
    def run(origin: str) -> object:
        return read(HttpClient(HttpSettings(origin, policy=Retry(attempts_max=1))), origin)

    return run


def _index(http: HttpClient, origin: str) -> object:
    registry = IndexRegistry(IndexSettings(f"{origin}/index.json"), http)
    registry.discover()
    return registry.listing(SDXL, registry.resolve(SDXL, "latest"))


def _oci(http: HttpClient, origin: str) -> object:
    registry = OciRegistry(OciSettings(origin, ("sdxl",)), http)
    return registry.listing(SDXL, registry.resolve(SDXL, "v1"))


def _hub(http: HttpClient, origin: str) -> object:
    return HubRegistry(HubSettings(origin, ("sdxl",)), http).resolve(SDXL, "v1")


def _mlflow(http: HttpClient, origin: str) -> object:
    return MlflowRegistry(MlflowSettings(origin), http).resolve(SDXL, "1")


def _modelscope(http: HttpClient, origin: str) -> object:
    return ModelScopeRegistry(ModelScopeSettings(origin, ("sdxl",)), http).resolve(SDXL, "v1")


def directory(place: str) -> object:
    registry = DirectoryRegistry(DirectorySettings(Path(place), settle_s=0))
    return registry.listing(SDXL, registry.resolve(SDXL, "v1"))


def checked(name: str, place: str) -> object:
    path = Path(place) / "input"

    def open_at(offset_bytes: int) -> Pull:
        file: BinaryIO = path.open("rb")
        file.seek(offset_bytes)
        return file.read

    return Ranges(name, open_at).run(check(name, path.stat().st_size))


class _File:
    """A `values.source.Stream` of a file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")

    def readinto(self, buffer: memoryview) -> int:
        return self._file.readinto(buffer)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()


def tarred(place: str) -> object:
    return len(list(members(_File(Path(place) / "input"), "a layer")))


def unpacked(packing: str, place: str) -> object:
    stream = DecompressedStream(_File(Path(place) / "input"), packing, PACKED_BYTES_MAX, "a layer")
    return len(list(members(stream, "a layer")))


def inspected(place: str) -> object:
    """All that `syncd inspect` reads of a version: its listing, and what its files say of themselves."""
    registry = FilteredRegistry(DirectoryRegistry(DirectorySettings(Path(place), settle_s=0.0)))
    return len(inspect(registry, SDXL, registry.resolve(SDXL, "v1"), threading.Event()).files)


def delivered(place: str) -> object:
    return hints("github", SignedRequest({}, {}, (Path(place) / "input").read_bytes()))


WEB: Final[Mapping[str, tuple[Callable[[str], Pieces], Read]]] = {
    "HTTP index": (INDEX, over_http(_index)),
    "OCI manifest": (LAYERS, over_http(_oci)),
    "Hugging Face": (INDEX, over_http(_hub)),
    "ModelScope": (INDEX, over_http(_modelscope)),
    "MLflow": (INDEX, over_http(_mlflow)),
}
FILED: Final[Mapping[str, tuple[Callable[[str], Pieces], Read]]] = {
    "MANIFEST.json": (MANIFEST, directory),
    "SHA256SUMS": (sums, directory),
    "*.index.json": (SHARDS, partial(checked, "model.safetensors.index.json")),
    "safetensors": (safetensors, partial(checked, "model.safetensors")),
    "GGUF": (gguf, partial(checked, "model.gguf")),
    "tar": (tar, tarred),
    "tar, gzip": (bomb, partial(unpacked, "gzip")),
    "tar, zstd": (packed_zstd, partial(unpacked, "zstd")),
    "OSS prefix": (_shape, prefix),
    "PAI": (_shape, workspace),
    "webhook": (DELIVERY, delivered),
}


def _high_water_kib() -> int:
    """Peak RSS of this program. `ru_maxrss` would have that of the process that started it, which made the input."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(match[1]) if match else 0


def ending_of(message: str) -> str:
    """The last words of a message, at most 90 characters of it."""
    return message if len(message) <= 90 else f"… {message[-90:].partition(' ')[2]}"


def child(source: str, place: str) -> None:
    """Read one input, and say what became of it and by how much the peak grew."""
    read = inspected if source == MILLION else {**WEB, **FILED}[source][1]
    idle_kib, began_s = _high_water_kib(), time.monotonic()
    try:
        read(place)
        verdict = "accepted"
    except SyncdError as error:
        verdict = f"refused: {ending_of(error.message)}"
    peak_mib = (_high_water_kib() - idle_kib) / 1024
    sys.stdout.write(f"{peak_mib:.0f}\t{time.monotonic() - began_s:.1f}\t{verdict}\n")


def measure(source: str, shape: str) -> tuple[int, float, str]:
    """Peak above idle in MiB, seconds, and what became of an input."""
    with tempfile.TemporaryDirectory() as folder:
        if source in WEB:
            body = _gzipped(WEB[source][0](shape))
            headers = {"Content-Encoding": "gzip", "Content-Type": "application/vnd.oci.image.manifest.v1+json"}
            with Web(lambda _: Reply(200, headers, body)) as web:
                return _run(source, web.origin)
        _lay(Path(folder), source, FILED[source][0](shape))
        return _run(source, folder)


def measure_million() -> tuple[int, float, str]:
    """As `measure`, of a version with a million small files and a marker: what `transfer.files_max` allows."""
    with tempfile.TemporaryDirectory() as folder:
        for each in range(1000):
            part = Path(folder) / f"sdxl/v1/unet-{each:04}"
            part.mkdir(parents=True)
            for n in range(1000):
                (part / f"file-{n:04}.bin").write_bytes(b"%07d" % n)
        (Path(folder) / "sdxl/v1/READY").touch()
        return _run(MILLION, folder)


def _run(source: str, place: str) -> tuple[int, float, str]:
    command = [sys.executable, "-m", "bench.hostile_memory", "--child", source, place]
    peak, seconds, verdict = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split("\t")
    return int(peak), float(seconds), verdict.strip()


def _gzipped(pieces: Iterable[bytes]) -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0, compresslevel=6) as packer:
        for piece in pieces:
            packer.write(piece)
    return out.getvalue()


def _lay(folder: Path, source: str, pieces: Pieces) -> None:
    """Write an input where it is read: a list in a version of a directory, with the files that it lists, or a file."""
    is_list = source in {"MANIFEST.json", "SHA256SUMS"}
    place = folder / "sdxl/v1" / source if is_list else folder / "input"
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("wb") as file:
        file.writelines(pieces)
    if is_list:
        (place.parent / "a.bin").write_bytes(b"1")


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.hostile_memory", description=__doc__)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--source", choices=[*WEB, *FILED, MILLION])
    asked = parser.parse_args()
    if asked.child:
        child(*asked.child)
        return 0
    worst, is_within = 0, True
    sys.stdout.write("| source | shape | peak above idle, MiB | seconds | outcome |\n| --- | --- | --- | --- | --- |\n")
    for source in [asked.source] if asked.source else [*WEB, *FILED, MILLION]:
        for shape in SHAPES if source != MILLION else ():
            peak_mib, seconds, verdict = measure(source, shape)
            worst = max(worst, peak_mib)
            sys.stdout.write(f"| {source} | {shape} | {peak_mib} | {seconds} | {verdict} |\n")
            sys.stdout.flush()
        if source == MILLION:
            peak_mib, seconds, verdict = measure_million()
            is_within = peak_mib <= MILLION_MIB_MAX
            sys.stdout.write(f"| {source} | a million | {peak_mib} | {seconds} | {verdict} |\n")
    return 0 if worst <= PEAK_MIB_MAX and is_within else 1


if __name__ == "__main__":
    sys.exit(main())
