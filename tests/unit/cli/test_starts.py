"""`syncd status --starts`."""

from __future__ import annotations

from rich.console import Console
from syncd.cli.commands.status import _starts_text

from tests.unit.cli.calling import Calling

ROW = {
    "model": "sdxl",
    "version": "v2",
    "region": "cn-hangzhou",
    "target_kind": "oss",
    "size_bytes": 6_500_000_000,
    "cold_starts": 3,
    "others": 0,
    "median_s": 20.5,
    "p95_s": 30.25,
    "stages_s": {"start": 9.5, "load.read": 10.0},
    "than_before": 0.95,
}
NONE = {**ROW, "version": "v1", "cold_starts": 0, "median_s": None, "p95_s": None, "stages_s": {}, "than_before": None}


def test_without_history_the_command_says_when_there_will_be_one(call: Calling) -> None:
    assert call("status", "--starts").out == "no start is recorded yet: the probe of the next release records one\n"
    assert call("status", "m", "--starts", "-o", "json").document == {"starts": []}
    assert call("status", "nothing", "--starts").code == 3


def test_each_row_has_its_tail_its_stages_and_the_comparison() -> None:
    console = Console(width=200, record=True, quiet=True)
    with console.capture() as shown:
        console.quiet = False
        _starts_text(console, {"starts": [ROW, NONE]})
    head, newest, before = shown.get().splitlines()
    assert head.split()[:4] == ["VERSION", "REGION", "FROM", "SIZE"]
    assert newest.split()[0] == "sdxl@v2"
    assert "20.500s" in newest
    assert "30.250s" in newest
    assert "× 0.95" in newest
    assert "start 9.500s, load.read 10.000s" in newest
    assert before.split()[-4:] == ["-", "-", "-", "-"]
