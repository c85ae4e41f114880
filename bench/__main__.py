"""`python -m bench`: measures syncd beside other tools and writes `results.md`, `results.json` and `plot.svg`."""

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench import contenders
from bench.contenders import ROOT, Contender, Job, syncd_command
from bench.figures import ONE, SMALL, THREE
from bench.files import FileSet, checkpoints, made, small
from bench.meter import SinkProcess
from bench.plot import svg
from bench.report import Setting, markdown
from bench.trials import Bench, Sample, Trial

_MIB = 1 << 20
_PARTS_MIB = (1, 2, 4, 8, 16)
_GROWING = ("syncd", "s5cmd", "rclone")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=0.05, help="of the ten checkpoints' 40.57 GB")
    parser.add_argument("--rounds", type=int, default=5, help="counted runs of each; one more warms up")
    parser.add_argument("--small-files", type=int, default=10_000)
    parser.add_argument("--check-every", type=int, default=16, help="compare MD5 and SHA of one body of so many")
    parser.add_argument("--trial", choices=(ONE, THREE, SMALL), help="this one alone")
    parser.add_argument("--only", action="append", help="a contender; may be repeated")
    parser.add_argument("--data", type=Path, default=ROOT / ".bench", help="where the files lie; they are kept")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "bench")
    parser.add_argument("--no-growth", action="store_true")
    measure(parser.parse_args())


def measure(options: argparse.Namespace) -> None:
    """Run everything and write the results."""
    load = os.getloadavg()[0]
    there, missing = contenders.found()
    there = [contender for contender in there if not options.only or contender.name in options.only]
    options.data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.data) as scratch, SinkProcess(options.check_every) as sink:
        bench = Bench(sink, Path(scratch))
        samples = list(bench.rounds(_trials(options, there), options.rounds, _tell))
        growth = [] if options.no_growth else _growth(options, bench, there)
    setting = Setting(options.scale, options.rounds, options.check_every, (load, os.getloadavg()[0]), there, missing)
    options.out.mkdir(parents=True, exist_ok=True)
    plain = [sample.plain() for sample in [*samples, *(one for _, series in growth for one in series)]]
    (options.out / "results.json").write_text("[\n" + ",\n".join(json.dumps(one) for one in plain) + "\n]\n")
    (options.out / "results.md").write_text(markdown(samples, growth, setting))
    (options.out / "plot.svg").write_text(svg(samples))


def _trials(options: argparse.Namespace, there: Sequence[Contender]) -> list[Trial]:
    large = made(options.data, f"checkpoints-{options.scale:g}", checkpoints(options.scale))
    few = [contender for contender in there if contender.name in _GROWING]
    plain = [contender for contender in there if contender.name != "rclone, lean"]
    trials = [
        Trial(ONE, large, ["bucket-1"], there),
        Trial(THREE, large, ["bucket-1", "bucket-2", "bucket-3"], few),
        Trial(SMALL, _small(options, options.small_files), ["bucket-1"], plain),
    ]
    return [trial for trial in trials if options.trial in {None, trial.name}]


def _small(options: argparse.Namespace, count: int) -> FileSet:
    return made(options.data, f"small-{count}", small(count))


def _growth(
    options: argparse.Namespace, bench: Bench, there: Sequence[Contender]
) -> list[tuple[str, Sequence[Sample]]]:
    """Syncd with smaller and smaller parts of one file, and everybody with more and more files."""
    size_bytes = max(checkpoints(options.scale).values())
    one = made(options.data, f"one-{options.scale:g}", {"one.dat": size_bytes})
    syncd = next((contender for contender in there if contender.name == "syncd"), None)
    parts = []
    for mib in _PARTS_MIB if syncd else ():
        cut = Contender("syncd", "", partial(_in_parts, mib), "")
        parts.append(Trial(f"parts {-(-size_bytes // (mib * _MIB))}", one, ["bucket-1"], [cut]))
    few = [contender for contender in there if contender.name in _GROWING]
    counts = [max(1, options.small_files * share // 100) for share in (10, 25, 50, 100)]
    files = [Trial(f"files {count}", _small(options, count), ["bucket-1"], few) for count in counts]
    rounds = min(3, options.rounds)
    return [
        (f"number of parts of one file of {size_bytes / 1e6:.0f} MB", list(bench.rounds(parts, rounds, _tell))),
        ("number of files of 10 KB", list(bench.rounds(files, rounds, _tell))),
    ]


def _in_parts(mib: int, job: Job) -> list[list[str]]:
    return [syncd_command(job, part_bytes=mib * _MIB)]


def _tell(sample: Sample) -> None:
    counted = f"round {sample.round}" if sample.round else "warm-up"
    spent = f"CPU {sample.cpu_s:7.2f} s   wall {sample.wall_s:7.2f} s"
    print(f"{sample.trial:<14} {counted:<8} {sample.contender:<14} {spent}", flush=True)


if __name__ == "__main__":
    main()
