"""One copy as a process, for `bench.bounds`: a generated model, OSS targets anywhere, the journal in SQLite.

Its only argument is a JSON object with the fields of `Order`. It prints a JSON line for each target that is finished.
"""

import gc
import hashlib
import json
import sys
import time
from dataclasses import dataclass
from functools import cache, partial
from threading import Event
from typing import Self

from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import parse_model, parse_path, parse_version
from syncd.secret import Secret
from syncd.state.content import versions
from syncd.state.content.journal import SqlJournal
from syncd.state.state import State
from syncd.store.oss.store import Credentials, OssSettings, OssStore
from syncd.targets.versioned_tree import TreeTarget
from syncd.transfer import Bandwidth, CopySettings, Destination, Progress, Timetable, copy
from syncd.tuning import share_one_arena

_NOTHING = memoryview(bytes(1 << 20))


@dataclass(frozen=True, slots=True)
class Order:
    """`targets` are endpoints by bucket; all files are as large as the first, and all zeros. `bytes_s` 0: no limit."""

    size_bytes: int
    sha256: str
    files: int
    targets: dict[str, str]
    record: str
    bytes_s: int = 0
    seal: bool = False


class Zeros:
    """A source that costs no disk."""

    def __init__(self, left_bytes: int) -> None:
        self._left_bytes = left_bytes

    def readinto(self, buffer: memoryview) -> int:
        count = min(len(buffer), self._left_bytes, len(_NOTHING))
        buffer[:count] = _NOTHING[:count]
        self._left_bytes -= count
        return count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


@cache
def sha256_of_zeros(size_bytes: int) -> str:
    """What a generated file has to have."""
    hasher = hashlib.sha256()
    for _ in range(size_bytes >> 20):
        hasher.update(_NOTHING)
    hasher.update(_NOTHING[: size_bytes & ((1 << 20) - 1)])
    return hasher.hexdigest()


def run(order: Order) -> None:
    """Carry it."""
    began_s = time.monotonic()
    entries = [
        Entry(parse_path(f"{n}.safetensors"), order.size_bytes, Digest(order.sha256)) for n in range(order.files)
    ]
    manifest = Manifest.of(parse_model("m"), parse_version("v1"), entries)
    state = State(f"sqlite:///{order.record}")
    with state.write() as conn:
        known = versions.record(conn, manifest, "files", "pin", state.now(conn))
    destinations = []
    for name, at in order.targets.items():
        journal, tell = SqlJournal(state, known.id, name), partial(_tell, name, began_s)
        destinations.append(Destination(TreeTarget(name, _store(name, at)), journal, tell))
    settings = CopySettings(bandwidth=Bandwidth(Timetable(order.bytes_s)))
    report = copy(
        manifest,
        lambda entry, offset_bytes: Zeros(entry.size_bytes - offset_bytes),
        destinations,
        settings,
        progress=Progress(manifest, order.targets),
        stop=Event(),
    )
    if report.failed:
        raise SystemExit(f"failed: {report.failed}")
    for destination in destinations if order.seal else ():
        destination.target.seal(manifest, destination.journal)
    state.close()


def _tell(name: str, began_s: float) -> None:
    print(json.dumps({"target": name, "wall_s": round(time.monotonic() - began_s, 3)}), flush=True)


def _store(bucket: str, endpoint: str) -> OssStore:
    return OssStore(
        OssSettings(endpoint, bucket, "cn-hangzhou", lambda: Credentials("key", Secret("secret")), path_style=True)
    )


def main() -> None:
    share_one_arena()
    gc.freeze()
    run(Order(**json.loads(sys.argv[1])))


if __name__ == "__main__":
    main()
