"""What is promised of a bake as a bound, measured: memory, files, and what a kill makes it send again."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from syncd.oci.build import CHUNK_BYTES
from tests.emulators.distribution import distribution
from tests.emulators.relay import image_relay
from tests.unit.oci.kitchen import BASE, push_base

from bench import run_bake
from bench.contenders import ROOT
from bench.run_bounds import sha256_of_zeros

_LOOK_S = 0.02
_CHUNK_S = 0.2  # about what one takes: a kill comes anywhere in it
_MB = 1_000_000
_RSS_MAX = 256 * _MB


@dataclass(slots=True)
class Watch:
    """What is seen of a process and those that it began, again and again. `temporary` is its TMPDIR, nobody else's."""

    pid: int
    temporary: Path
    record: Path
    rss_bytes: int = 0
    written_bytes: int = 0  # to disks, as the kernel counts
    files: set[str] = field(default_factory=set)  # that it could write to

    def look(self) -> None:
        """Once; nothing where it has ended."""
        rss_bytes = written_bytes = 0
        opened: list[Path] = []
        try:
            for here in _family(self.pid):
                told = (here / "status").read_text().partition("VmHWM:")[2].split()
                rss_bytes += int(told[0]) * 1024 if told else 0
                written = (here / "io").read_text().partition("\nwrite_bytes: ")[2].split()
                written_bytes += int(written[0]) if written else 0
                opened += [each.readlink() for each in (here / "fd").iterdir() if int(each.name) > 2 and _writes(each)]
        except OSError:
            return
        self.rss_bytes, self.written_bytes = max(self.rss_bytes, rss_bytes), max(self.written_bytes, written_bytes)
        own = {str(path) for path in opened if path.is_absolute() and path.parts[1] not in {"dev", "proc", "sys"}}
        left = {str(path) for path in self.temporary.rglob("*")}
        self.files |= {name for name in own | left if not name.startswith(str(self.record))}


def _family(pid: int) -> list[Path]:
    here = Path(f"/proc/{pid}")
    begun = [each for task in here.glob("task/*/children") for each in task.read_text().split()]
    return [here, *(Path(f"/proc/{each}") for each in begun)]


def _writes(descriptor: Path) -> bool:
    told = (descriptor.parents[1] / "fdinfo" / descriptor.name).read_text()
    return int(told.partition("flags:")[2].split()[0], 8) & os.O_ACCMODE != os.O_RDONLY


class Bakes:
    """Bakes generated models of one layer into registries of their own, below `scratch`."""

    def __init__(self, scratch: Path, chance: random.Random) -> None:
        self._scratch = scratch
        self._chance = chance

    def memory(self, size_bytes: int) -> str:
        """The peak of one bake, the files that it had open, and what it wrote."""
        with self._house() as (root, origin), self._baking(root, origin, size_bytes) as (process, watch):
            began_s = time.monotonic()
            while process.poll() is None:
                watch.look()
                time.sleep(_LOOK_S)
            wall_s = time.monotonic() - began_s
        if process.returncode:
            raise SystemExit(f"the bake ended with {process.returncode}")
        files = ", ".join(sorted(watch.files)) or "none"
        verdict = "" if watch.rss_bytes <= _RSS_MAX and not watch.files else " MORE THAN IS PROMISED"
        return (
            f"baked: {size_bytes / _MB:.0f} MB in a layer: peak RSS {watch.rss_bytes / _MB:.0f} MB, files written"
            f" beside the record: {files}, bytes written to disk {watch.written_bytes / _MB:.1f} MB, {wall_s:.1f} s,"
            f" {size_bytes / wall_s / _MB:.0f} MB/s{verdict}"
        )

    def killed(self, size_bytes: int) -> str:
        """What a bake that is killed around its half sends again through what takes requests whole."""
        with self._house() as (root, origin), image_relay(origin, keeps_state=True) as relay:
            self._kill(root, relay.origin, size_bytes, lambda: relay.bytes_in)
            before_bytes = _settled(lambda: relay.bytes_in)
            self._again(root, relay.origin, size_bytes)
            twice_bytes = relay.bytes_in - size_bytes
        return _told("behind what takes requests whole", size_bytes, before_bytes, twice_bytes)

    def killed_alone(self, size_bytes: int) -> str:
        """The same, to docker-registry with nothing in front of it, as its own disk says."""
        with self._house() as (root, origin):
            uploads = root / "blobs/docker/registry/v2/repositories/m/_uploads"

            def arrived_bytes() -> int:
                return sum(each.stat().st_size for each in uploads.glob("*/data"))

            self._kill(root, origin, size_bytes, arrived_bytes)
            before_bytes = _settled(arrived_bytes)
            twice_bytes = before_bytes + self._again(root, origin, size_bytes) - size_bytes
        return _told("docker-registry alone", size_bytes, before_bytes, twice_bytes)

    def _kill(self, root: Path, origin: str, size_bytes: int, arrived_bytes: Callable[[], int]) -> None:
        with self._baking(root, origin, size_bytes) as (process, _):
            while arrived_bytes() < size_bytes / 2 and process.poll() is None:
                time.sleep(_LOOK_S)
            time.sleep(self._chance.uniform(0, _CHUNK_S))
            process.send_signal(signal.SIGKILL)
        if process.returncode != -signal.SIGKILL:
            raise SystemExit("it was through before it was killed")

    def _again(self, root: Path, origin: str, size_bytes: int) -> int:
        """What the second bake sends."""
        with self._baking(root, origin, size_bytes) as (process, _):
            if process.wait():
                raise SystemExit(f"the second bake ended with {process.returncode}")
        return int((root / "bake.log").read_text().split()[-1])

    @contextmanager
    def _house(self) -> Iterator[tuple[Path, str]]:
        with tempfile.TemporaryDirectory(dir=self._scratch) as root, distribution(Path(root)) as house:
            push_base(house)
            prepare = [sys.executable, "-m", "bench.run_syncd", "--prepare", f"{root}/record.db"]
            subprocess.run(prepare, check=True, cwd=ROOT)
            yield Path(root), house.origin

    @contextmanager
    def _baking(self, root: Path, origin: str, size_bytes: int) -> Iterator[tuple[subprocess.Popen[bytes], Watch]]:
        host, temporary, record = origin.removeprefix("http://"), root / "tmp", root / "record.db"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        order = run_bake.Order(size_bytes, sha256_of_zeros(size_bytes), f"{host}/m", f"{host}/{BASE}:1.0", str(record))
        env: Mapping[str, str] = {"PATH": "", "TMPDIR": str(temporary)}
        command = [sys.executable, "-m", "bench.run_bake", json.dumps(asdict(order))]
        with (root / "bake.log").open("ab") as log, subprocess.Popen(command, env=env, cwd=ROOT, stdout=log) as process:
            try:
                yield process, Watch(process.pid, temporary, record)
            finally:
                process.kill()


def _settled(arrived_bytes: Callable[[], int]) -> int:
    """What had arrived, once nothing more does: what the kernel had taken still comes after the kill."""
    before = -1
    while (now := arrived_bytes()) != before:
        before = now
        time.sleep(1.0)
    return before


def _told(what: str, size_bytes: int, before_bytes: int, twice_bytes: int) -> str:
    share, chunks = before_bytes / size_bytes, twice_bytes / CHUNK_BYTES
    verdict = " MORE THAN A CHUNK" if twice_bytes > CHUNK_BYTES + _MB else ""
    return (
        f"baked, killed at {share:.1%} of {size_bytes / _MB:.0f} MB, {what}:"
        f" {twice_bytes / _MB:.1f} MB ({chunks:.2f} chunks) more than once{verdict}"
    )
