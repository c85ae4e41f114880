"""What breaks at night: `python -m bench.night` prints a table, as markdown.

A real daemon and a real local cloud; two versions of a model are live in two regions. Each break is made while the
daemon runs, and nothing is published: how long until `syncd status` shows it, which command or action it names, and
whether that ended it. Run it as root: the disk of the record is a mount.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.acceptance.stage import Cloud, cloud_up, small, until
from tests.foreign.processes import Clock

from bench.night_breaks import BREAKS, Break, Night

OVER_MAX_S: Final = 90.0
_TO_DO: Final = re.compile(r"^(?:   to do|hint): (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Row:
    """One break, and what came of it."""

    what: str
    shown_s: float | None
    says: str
    names: str
    did: str
    over_s: float | None

    def line(self) -> str:
        """The row of the table."""
        shown = "not" if self.shown_s is None else f"{self.shown_s:.0f}"
        over = "no" if self.over_s is None else f"yes, after {self.over_s:.0f} s"
        cells = (self.what, shown, self.says, self.names, self.did, over)
        return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def main() -> None:
    """Run the breaks that are named, or all, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("breaks", nargs="*", help="names, or parts of them; default: all")
    wanted = parser.parse_args().breaks
    print("| break | seconds until `status` shows it | what it says | what it names | what was done | over |")
    print("| --- | ---: | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory(prefix="syncd-night-") as name, cloud_up(Path(name) / "cloud") as cloud:
        for number, each in enumerate(BREAKS):
            if not wanted or any(word in each.what for word in wanted):
                print(_row(cloud, Path(name) / str(number), each).line(), flush=True)


def _row(cloud: Cloud, home: Path, each: Break) -> Row:
    home.mkdir()
    with each.around(home) as tool:
        stage = cloud.stage(home / "stage")
        if isinstance(tool, Clock):
            stage.env |= tool.environment()
        stage.configure(("[policy]\n", "[policy]\ndrift_poll_s = 2.0\n"))
        for version in ("v1", "v2"):
            done = stage.publish(version, small(version))
            assert done.code == 0, done
        night = Night(stage, home / "daemon.log", tool)
        night.start()
        try:
            until(lambda: stage.run("health").code == 0, "all to be good")
            each.prepare(night)
            until(lambda: stage.run("health").code == 0, "all to be good once more")
            return _broken(night, each)
        finally:
            with contextlib.suppress(OSError, sqlite3.Error):
                each.clear(night)
            night.stop()


def _broken(night: Night, each: Break) -> Row:
    began = time.monotonic()
    each.make(night)
    said = _wait_for(night, each)
    shown_s = time.monotonic() - began
    says, names = "nothing", each.otherwise
    if said is not None:
        lines = said.splitlines()
        at = next(n for n, line in enumerate(lines) if re.search(each.shown, line))
        says = _short(lines[at])
        names = next((found[1] for line in lines[at:] if (found := _TO_DO.match(line))), "nothing")
    resolved = time.monotonic()
    did = each.resolve(night, names)
    over_s = time.monotonic() - resolved if _ends(night, each) else None
    return Row(each.what, None if said is None else shown_s, says, _short(names), did, over_s)


def _wait_for(night: Night, each: Break) -> str | None:
    """What is printed as soon as it shows the break; None where it never does."""
    deadline = time.monotonic() + each.shown_max_s
    while time.monotonic() < deadline:
        said = each.look(night)
        if re.search(each.shown, said, re.MULTILINE):
            return said
        time.sleep(0.2)
    return None


def _ends(night: Night, each: Break) -> bool:
    """Whether `status` forgets the break, and all is as it was."""
    deadline = time.monotonic() + OVER_MAX_S
    while time.monotonic() < deadline:
        done = night.stage.run("status")
        text = done.out + done.err
        if done.code == 0 and not re.search(each.shown, text, re.MULTILINE) and each.is_over(night.stage):
            return True
        time.sleep(0.2)
    return False


def _short(text: str) -> str:
    """Without what differs from run to run."""
    text = re.sub(r"/[^ `:]*syncd-night-[^ /`]*/(\d+/stage|cloud/cloud/nas)", "/srv", text)
    text = re.sub(r",? request id: \S+", "", text)
    text = re.sub(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "since …", text)
    return re.sub(r"\bs\d\d\b", "m", text.strip())


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if os.geteuid() != 0:
        sys.exit("python -m bench.night needs root, for mounts")
    subprocess.run(["mount", "--version"], check=True, capture_output=True)
    main()
