"""The results as Markdown: what ran where, a table for each trial, what a part and a file cost, the verdicts."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.contenders import Contender
from bench.figures import Spread, medians, slope, spread, verdicts
from bench.trials import Sample

_HEAD = """\
# Cost of transfers compared with other tools

Written by `make bench`; do not edit. All clients send the same files, from the page cache, to the same server on
loopback, in turn (A B C A B C …), so that a slower machine affects all of them. The server verifies sizes,
CRCs (always) and MD5 and SHA (one body of {check_every}) and discards the bytes; its own CPU time is listed separately.
CPU and peak memory are those of the whole client process, its start included; the first run of each is not counted.
Figures are medians with (least–most). A tool with one destination runs once per bucket, one run after another.
Ratios are of medians in this run; absolute seconds are those of this machine.
"""


@dataclass(frozen=True, slots=True)
class Setting:
    """What the report says of the run itself."""

    scale: float
    rounds: int
    check_every: int
    load: tuple[float, float]  # of the machine, at the beginning and at the end
    contenders: Sequence[Contender]
    missing: Sequence[str]


def markdown(samples: Sequence[Sample], growth: Sequence[tuple[str, Sequence[Sample]]], setting: Setting) -> str:
    """The page. `growth` are series of runs by name, each run's `trial` ending with the number that grows."""
    parts = [_HEAD.format(check_every=setting.check_every), "![medians](plot.svg)\n", _verdicts(samples)]
    parts += [_table(samples, trial) for trial in dict.fromkeys(sample.trial for sample in samples)]
    parts += [_start(samples)]
    parts += [_growth(name, series) for name, series in growth]
    parts += [_machine(setting), _versions(setting)]
    return "\n".join(part for part in parts if part)


def _verdicts(samples: Sequence[Sample]) -> str:
    lines = ["## Targets\n", "| trial | syncd's | at most | is | |", "| --- | --- | ---: | ---: | --- |"]
    for verdict in verdicts(samples):
        ratio = "–" if verdict.ratio is None else f"{verdict.ratio:.2f}"
        word = "not measured" if verdict.ratio is None else "met" if verdict.is_met else "**not met**"
        lines.append(
            f"| {verdict.target.trial} | {verdict.target.what} | {verdict.target.most:.2f} | {ratio} | {word} |"
        )
    return "\n".join([*lines, ""])


def _table(samples: Sequence[Sample], trial: str) -> str:
    names = list(dict.fromkeys(sample.contender for sample in samples if sample.trial == trial))
    beside = " | × s5cmd | × rclone"
    lines = [
        f"## {trial[0].upper()}{trial[1:]}\n",
        f"| client | CPU, s{beside} | wall, s{beside} | peak RSS, MB | sent, MB | requests | server's CPU, s |",
        "| --- |" + " ---: |" * 10,
    ]
    for name in names:
        cells = [name]
        for figure in ("cpu_s", "wall_s"):
            own = spread(samples, trial, name, figure)
            cells.append(_shown(own))
            cells += [_times(own, spread(samples, trial, other, figure)) for other in ("s5cmd", "rclone")]
        for figure, unit, digits in (
            ("rss_bytes", 1e6, 0),
            ("wire_bytes", 1e6, 2),
            ("requests", 1, 0),
            ("sink_cpu_s", 1, 2),
        ):
            found = spread(samples, trial, name, figure)
            cells.append("–" if found is None else f"{found.median / unit:.{digits}f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _shown(found: Spread | None) -> str:
    return "–" if found is None else f"{found.median:.2f} ({found.least:.2f}–{found.most:.2f})"


def _times(own: Spread | None, other: Spread | None) -> str:
    return f"{own.median / other.median:.2f}" if own and other else "–"


def _start(samples: Sequence[Sample]) -> str:
    """How much of syncd's CPU time a process pays once: a daemon does not pay it for each version."""
    lines = ["## Of syncd's CPU time, in s\n", "| trial | whole process | start and list | `copy` | seal |"]
    lines.append("| --- |" + " ---: |" * 4)
    for trial in dict.fromkeys(sample.trial for sample in samples):
        for name in ("syncd", "syncd, sealed"):
            own = [sample for sample in samples if (sample.trial, sample.contender) == (trial, name)]
            if own:
                middle = sorted(own, key=lambda sample: sample.cpu_s)[len(own) // 2]
                phases = json.loads(middle.said)
                cells = [middle.cpu_s, phases["before_s"], phases["copy_s"], phases["after_s"]]
                lines.append(f"| {trial}, {name} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")
    return "\n".join([*lines, ""])


def number_in(sample: Sample) -> float:
    """What grows in a series: the number at the end of the trial's name."""
    return float(sample.trial.rpartition(" ")[2])


def _growth(name: str, series: Sequence[Sample]) -> str:
    contenders = list(dict.fromkeys(sample.contender for sample in series))
    numbers = sorted({number_in(sample) for sample in series})
    heads = " | ".join(f"{number:.0f}" for number in numbers)
    lines = [f"## Growth with the {name}\n", f"| CPU, s, for | {heads} | each, ms | before the first, s |"]
    lines.append("| --- |" + " ---: |" * (len(numbers) + 2))
    for contender in contenders:
        points = medians([sample for sample in series if sample.contender == contender], number_in, "cpu_s")
        each, first = slope(points)
        cells = " | ".join(f"{points[number]:.2f}" for number in numbers)
        lines.append(f"| {contender} | {cells} | {each * 1000:.3f} | {first:.2f} |")
    return "\n".join([*lines, ""])


def _machine(setting: Setting) -> str:
    model = Path("/proc/cpuinfo").read_text().partition("model name\t: ")[2].partition("\n")[0] or platform.machine()
    kernel = f"{platform.system()} {platform.release().partition('-')[0]}"
    memory_gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    return (
        "## The machine and the run\n\n"
        f"{os.cpu_count()} cores ({model}), {memory_gb:.0f} GB of memory, {kernel}, "
        f"Python {platform.python_version()}. Checkpoint sizes × {setting.scale:g}, {setting.rounds} rounds. "
        f"Load of the machine {setting.load[0]:.1f} at the beginning, {setting.load[1]:.1f} at the end: above "
        "about 2, other work ran at the same time, and wall times are unreliable.\n"
    )


def _versions(setting: Setting) -> str:
    lines = ["| client | version | how |", "| --- | --- | --- |"]
    lines += [f"| {contender.name} | {contender.version} | {contender.note} |" for contender in setting.contenders]
    if setting.missing:
        lines.append(f"\nNot installed, so left out: {', '.join(setting.missing)}.")
    return "\n".join([*lines, ""])
