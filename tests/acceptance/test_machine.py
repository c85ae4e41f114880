"""What a machine can do to a command: a disk without room, a signal before anything has begun."""

from __future__ import annotations

import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.stage import Done, command, ended, environment, run


def limited(config: Path, blocks: int, *arguments: str) -> Done:
    """Run with a limit on how large any file may grow, which fails writes as a full disk does."""
    line = f"ulimit -f {blocks} && exec {shlex.join(command(*arguments, '-c', str(config)))}"
    # Without the coverage tool, which would write its own file under the limit too.
    own = {name: value for name, value in environment().items() if not name.startswith("COVERAGE")}
    process = subprocess.Popen(["bash", "-c", line], env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return ended(process)


def test_a_disk_without_room_is_unavailable_and_the_record_is_whole_afterwards(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[state]\nurl = "sqlite:///{tmp_path / "syncd.db"}"\n')
    full = limited(config, 16, "db", "create")
    assert full.code == 7, full
    assert full.err.startswith("error: ")
    assert "hint:" in full.err
    assert len(full.err.splitlines()) == 2
    assert run("db", "create", "-c", str(config)).code == 0
    assert run("status", "-c", str(config)).code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_while_a_cloud_is_served_ends_the_command_well(tmp_path: Path, number: signal.Signals) -> None:
    arguments = ("local", "up", "--root", str(tmp_path), "--port", "0", "--regions", "cn-hangzhou", "-o", "json")
    process = subprocess.Popen(command(*arguments), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"{")
    process.send_signal(number)
    assert ended(process).code == 0
