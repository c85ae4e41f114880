"""`python -m bench.images`: a model into an image, by `syncd bake` and by buildah with a Containerfile.

Each run has a registry of its own with the same base in it, so that all push the same bytes. Written to `images.md`.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from tests.emulators.distribution import Distribution, distribution
from tests.unit.oci.kitchen import BASE, push_base

from bench.contenders import ROOT
from bench.files import MODEL, FileSet, made
from bench.meter import Cost, FailedRunError, run

_MB = 1_000_000
_LOOK_S = 0.05
_REPOSITORY = f"team/{MODEL}"
_CRANE = "crane: neither Debian nor PyPI has its program"
_FIGURES = {"wall, s": ("wall_s", 1.0), "CPU, s": ("cpu_s", 1.0), "peak RSS, MB": ("rss_bytes", _MB),
            "peak disk, MB": ("disk_bytes", _MB)}  # fmt: skip

_HEAD = """\
# Cost of image pushes compared with buildah

Written by `make bench`; do not edit. {files} files of {mb:.0f} MB of random bytes in all, from the page cache, over a
base of a few KB, into a separate `docker-registry` per run on loopback; in turn, {rounds} rounds, and one before
that is not counted. Medians with (least–most); ratios are of medians in this run, to syncd's. Disk is the peak
size of the client's own directories without the model. RSS is that of the client's largest process, CPU that of
all of them without the registry.
"""


@dataclass(frozen=True, slots=True)
class Work:
    """One run: where the image goes, what is in it, and a directory for this run alone."""

    files: FileSet
    host: str
    scratch: Path

    @property
    def base(self) -> str:
        return f"{self.host}/{BASE}:1.0"


@dataclass(frozen=True, slots=True)
class Builder:
    """A way to build and push; `commands` run one after another."""

    name: str
    version: str
    note: str
    commands: Callable[[Work], Sequence[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Built:
    """What one run cost."""

    builder: str
    round: int
    wall_s: float
    cpu_s: float
    rss_bytes: int
    disk_bytes: int


def builders() -> tuple[list[Builder], list[str]]:
    """Those that can run here, and why others cannot."""
    there, missing = [Builder("syncd", "", "`syncd bake`", _syncd)], [_CRANE]
    if shutil.which("buildah") is None:
        return there, [*missing, "buildah: it is not installed (Debian: buildah)"]
    if os.geteuid() != 0:
        return there, [*missing, "buildah: without root it wants user namespaces that are set up"]
    version = subprocess.run(["buildah", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    note = "`bud --isolation chroot --storage-driver vfs`, then `push`; neither of the two packs layers"
    return [*there, Builder("buildah", version, note, _buildah)], missing


def measured(files: FileSet, rounds: int, data: Path, tell: Callable[[Built], None]) -> Iterator[Built]:
    """Every builder in turn, so many times and once before that, which is not counted (but is all, for 0).

    Raises:
        FailedRunError: One ended with an error, or its image is not there.
    """
    there, _ = builders()
    files.warm()
    for number in range(rounds + 1):
        for builder in there:
            with tempfile.TemporaryDirectory(dir=data) as root, distribution(Path(root)) as house:
                push_base(house)
                scratch = Path(root) / "scratch"
                built = _run(builder, number, Work(files, house.origin.removeprefix("http://"), scratch))
                _prove(builder, files, house)
            tell(built)
            if number or not rounds:
                yield built


def markdown(samples: Sequence[Built], files: FileSet, rounds: int) -> str:
    """The page."""
    there, missing = builders()
    lines = [_HEAD.format(files=len(files.sizes), mb=files.size_bytes / _MB, rounds=rounds)]
    lines += [
        f"| | {' | '.join(f'{name} | × syncd' for name in _FIGURES)} |",
        "| --- |" + " ---: |" * 2 * len(_FIGURES),
    ]
    for builder in there:
        cells = [cell for figure, unit in _FIGURES.values() for cell in _cells(samples, builder.name, figure, unit)]
        lines.append(f"| {builder.name} | {' | '.join(cells)} |")
    lines += ["", "| | version | how |", "| --- | --- | --- |"]
    lines += [f"| {builder.name} | {builder.version or 'this one'} | {builder.note} |" for builder in there]
    return "\n".join([*lines, "", f"Left out: {'; '.join(missing)}.", ""])


def _cells(samples: Sequence[Built], builder: str, figure: str, unit: float) -> tuple[str, str]:
    own = [getattr(sample, figure) / unit for sample in samples if sample.builder == builder]
    ours = median(getattr(sample, figure) / unit for sample in samples if sample.builder == "syncd")
    shown = f"{median(own):.2f} ({min(own):.2f}–{max(own):.2f})"
    return shown, f"{median(own) / ours:.2f}" if ours else "–"


def _run(builder: Builder, number: int, work: Work) -> Built:
    temporary = work.scratch / "tmp"
    temporary.mkdir(parents=True)
    commands = builder.commands(work)
    keep = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    env = {**keep, "TMPDIR": str(temporary), "HOME": str(work.scratch), "PYTHONPATH": str(ROOT)}
    with _disk(work.scratch) as peak:
        cost = sum((run(command, env) for command in commands), Cost())
    return Built(builder.name, number, round(cost.wall_s, 3), round(cost.cpu_s, 3), cost.rss_bytes, peak[0])


@contextmanager
def _disk(root: Path) -> Iterator[list[int]]:
    """What lies below `root` at most, while entered."""
    peak, ended = [0], threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_S):
            peak[0] = max(peak[0], _used(root))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield peak
        peak[0] = max(peak[0], _used(root))
    finally:
        ended.set()
        watcher.join()


def _used(root: Path) -> int:
    found = 0
    for directory, _, names in os.walk(root):
        for name in names:
            try:
                found += (Path(directory) / name).lstat().st_blocks * 512
            except FileNotFoundError:
                continue
    return found


def _syncd(work: Work) -> Sequence[Sequence[str]]:
    record, config = work.scratch / "record.db", work.scratch / "config.toml"
    subprocess.run([sys.executable, "-m", "bench.run_syncd", "--prepare", str(record)], check=True, cwd=ROOT)
    registry = f'[registries.files]\nkind = "directory"\npath = "{work.files.registry}"\nmodels = ["{MODEL}"]\n'
    config.write_text(f'[state]\nurl = "sqlite:///{record}"\n{registry}')
    names = ["--to", f"{work.host}/{_REPOSITORY}", "--base", work.base, "--config", str(config)]
    return [[sys.executable, "-m", "syncd", "bake", f"{MODEL}@{work.files.version}", *names]]


def _buildah(work: Work) -> Sequence[Sequence[str]]:
    recipe = work.scratch / "Containerfile"
    recipe.write_text(f"FROM {work.base}\nCOPY . /models/{MODEL}\n")
    stores = ["--root", str(work.scratch / "root"), "--runroot", str(work.scratch / "run"), "--storage-driver", "vfs"]
    build = ["bud", "--isolation", "chroot", "--tls-verify=false", "--tag", "made", "--file", str(recipe)]
    push = ["push", "--tls-verify=false", "made", f"docker://{work.host}/{_REPOSITORY}:v1"]
    return [["buildah", *stores, *build, str(work.files.directory)], ["buildah", *stores, *push]]


def _prove(builder: Builder, files: FileSet, house: Distribution) -> None:
    tags = house.tags(_REPOSITORY)
    with house.client(_REPOSITORY) as client:
        accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
        layers = [
            layer["size"]
            for tag in tags
            for layer in client.get(f"/v2/{_REPOSITORY}/manifests/{tag}", headers=accept).json()["layers"]
        ]
    if len(tags) != 1 or sum(layers) < files.size_bytes:
        raise FailedRunError(
            f"{builder.name}: {len(tags)} images, of {sum(layers)} bytes, {files.size_bytes} are in one"
        )


def _sizes(size_bytes: int) -> Mapping[str, int]:
    """Four shards, and a few small files."""
    shards = {f"model-{n}.dat": size_bytes // 4 for n in range(1, 5)}
    return shards | dict.fromkeys(("config.json", "tokenizer.json", "vocab.txt"), 10000)


def _tell(built: Built) -> None:
    print(json.dumps(asdict(built)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size-mb", type=int, default=1000, help="of the model")
    parser.add_argument("--rounds", type=int, default=5, help="counted runs of each; one more warms up")
    parser.add_argument("--data", type=Path, default=ROOT / ".bench", help="where the files lie; they are kept")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "bench")
    options = parser.parse_args()
    for each in (options.data, options.out):
        each.mkdir(parents=True, exist_ok=True)
    files = made(options.data, f"image-{options.size_mb}", _sizes(options.size_mb * _MB))
    samples = list(
        measured(files, options.rounds, options.data, lambda built: print(json.dumps(asdict(built)), flush=True))
    )
    (options.out / "images.md").write_text(markdown(samples, files, options.rounds))


if __name__ == "__main__":
    main()
