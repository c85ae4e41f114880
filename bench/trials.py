"""The measurements: contenders in turn, A B C A B C …, so that a machine that slows down slows down for all."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.contenders import ROOT, Contender, Job, environment
from bench.files import FileSet
from bench.meter import Cost, Counts, FailedRunError, SinkProcess, run


@dataclass(frozen=True, slots=True)
class Trial:
    """Contenders with the same files and the same buckets."""

    name: str
    files: FileSet
    buckets: Sequence[str]
    contenders: Sequence[Contender]


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one contender. Bytes are those of requests: what the client sent."""

    trial: str
    contender: str
    round: int
    wall_s: float
    cpu_s: float
    rss_bytes: int
    sink_cpu_s: float
    wire_bytes: int
    requests: int
    said: str = ""

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Bench:
    """Runs trials against one sink. `scratch` is for one process, and is emptied before each run."""

    def __init__(self, sink: SinkProcess, scratch: Path) -> None:
        self._sink = sink
        self._scratch = scratch
        self._empty_record = scratch / "empty.db"
        command = [sys.executable, "-m", "bench.run_syncd", "--prepare", str(self._empty_record)]
        subprocess.run(command, check=True, cwd=ROOT)

    def rounds(self, trials: Sequence[Trial], rounds: int, tell: Callable[[Sample], None]) -> Iterator[Sample]:
        """Every trial so many times, and once before that, to warm up, which is not counted (but is all, for 0).

        Raises:
            FailedRunError: A client failed, or did not bring every byte.
        """
        for trial in trials:
            trial.files.warm()
            for number in range(rounds + 1):
                for contender in trial.contenders:
                    sample = self._sample(trial, contender, number)
                    tell(sample)
                    if number or not rounds:
                        yield sample

    def _sample(self, trial: Trial, contender: Contender, number: int) -> Sample:
        self._sink.clear()
        before_s = self._sink.cpu_s()
        with tempfile.TemporaryDirectory(dir=self._scratch) as own:
            record = Path(own) / "record.db"
            shutil.copy(self._empty_record, record)
            (Path(own) / "rclone.conf").touch()
            job = Job(trial.files, self._sink.endpoint, trial.buckets, record)
            children = environment(self._sink.endpoint, Path(own))
            cost = sum((run(command, children) for command in contender.commands(job)), Cost())
        sink_cpu_s = self._sink.cpu_s() - before_s
        counts = self._sink.counts()
        _prove(trial, contender, counts)
        return Sample(
            trial=trial.name,
            contender=contender.name,
            round=number,
            wall_s=round(cost.wall_s, 4),
            cpu_s=round(cost.cpu_s, 4),
            rss_bytes=cost.rss_bytes,
            sink_cpu_s=round(sink_cpu_s, 2),
            wire_bytes=counts.wire_bytes,
            requests=sum(counts.requests.values()),
            said=cost.said.strip(),
        )


def _prove(trial: Trial, contender: Contender, counts: Counts) -> None:
    """A run that did not bring every byte, once, is no measurement."""
    what = f"{trial.name}, {contender.name}"
    if counts.refused or counts.uploads_open:
        raise FailedRunError(f"{what}: {counts.uploads_open} uploads left open, refused: {counts.refused}")
    for bucket in trial.buckets:
        stored: Mapping[str, int] = counts.stored.get(bucket, {})
        # A sealed version has its manifest and directory markers beside its files.
        if (
            stored.get("objects", 0) < len(trial.files.sizes)
            or counts.body_bytes.get(bucket, 0) < trial.files.size_bytes
        ):
            raise FailedRunError(f"{what}: {stored} in {bucket}, of {trial.files.size_bytes} bytes")
