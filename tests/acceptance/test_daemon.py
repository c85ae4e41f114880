"""The daemon as a process: draining, systemd's socket, two at once, its log, and that no secret gets out."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.acceptance.stage import SECRET, Stage, command, ended, large, small, until

EFFECTS = {
    "version.pinned": {"release", "model", "version", "step", "attempt", "bytes", "seconds"},
    "placement.copied": {"release", "model", "version", "step", "attempt", "target", "region", "bytes", "seconds"},
    "placement.sealed": {"release", "model", "version", "step", "attempt", "target", "region", "bytes", "seconds"},
    "function_version.staged": {"release", "model", "version", "step", "attempt", "region", "function", "seconds"},
    "function_version.probed": {"release", "model", "version", "step", "attempt", "region", "function", "seconds"},
    "alias.flipped": {"release", "model", "version", "step", "attempt", "region", "function", "seconds"},
}


def test_sigterm_in_the_middle_of_a_copy_drains_and_the_next_start_goes_on(one_region: Stage) -> None:
    one_region.slow(60.0, skip=1)
    one_region.deliver("v1", large("v1", parts=8))
    with one_region.daemon() as daemon:
        until(lambda: placed(one_region)["bytes_sent"] > 0, "some bytes to be sent")
        assert daemon.stop() == 0
        assert daemon.events("process.stopped")
    left = placed(one_region)
    assert left["phase"] == "copying"
    (step,) = [s for s in one_region.ask("show", "r-1")["steps"] if s["step"] == "place"]
    assert (step["state"], step["failures"]) == ("waiting", 0)
    assert one_region.run("health").code == 7, "a daemon that has left in order is not alive"
    one_region.clear_faults()
    with one_region.daemon():
        until(lambda: one_region.live() == {"v1"}, "v1 to be live")
    copied = placed(one_region)
    assert copied["bytes_kept"] >= left["bytes_sent"] - (2 << 23), "what was sent was sent again"


def placed(stage: Stage) -> dict[str, Any]:
    shown = stage.run("show", "r-1", "-o", "json").document
    target: dict[str, Any] = (shown.get("targets") or [{}])[0]
    return {"phase": "", "bytes_sent": 0, "bytes_kept": 0} | target


def test_a_second_daemon_on_the_same_record_is_refused_with_the_first_ones_process(one_region: Stage) -> None:
    with one_region.daemon() as first:
        second = one_region.run("run")
        assert second.code == 9
        assert str(first.process.pid) in second.err
        assert first.process.poll() is None


def test_systemd_is_told_ready_watchdog_and_stopping(one_region: Stage, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        address = tmp_path / "notify"
        channel.bind(str(address))
        channel.settimeout(60)
        one_region.env["NOTIFY_SOCKET"] = str(address)
        process = one_region.start("run")
        try:
            heard = [channel.recv(100).decode()]
            while "WATCHDOG=1" not in heard:
                heard.append(channel.recv(100).decode())
            assert heard[0] == "READY=1"
            process.send_signal(signal.SIGINT)
            while heard[-1] != "STOPPING=1":
                heard.append(channel.recv(100).decode())
        finally:
            process.terminate()
            assert ended(process).code == 0


def test_each_effect_is_one_event_with_all_that_is_known_and_nothing_tells_the_secret(stage: Stage) -> None:
    said: list[str] = []
    stage.configure(("[policy]\n", "[policy]\nauto_release = false\n"))  # a poll that is first makes it two releases
    with stage.daemon("--verbose") as daemon:
        stage.deliver("v1", small("v1"))
        done = stage.run("publish", f"{stage.model}@v1", "--wait", "--verbose")
        said += [done.out, done.err]
        assert done.code == 0
        for arguments in (
            ("show", "r-1"),
            ("verify", "-o", "json"),
            ("plan", f"{stage.model}@v1"),
            ("config", "check"),
        ):
            told = stage.run(*arguments, "--verbose")
            assert told.code == 0, told
            said += [told.out, told.err]
        assert daemon.stop() == 0
    for name, fields in EFFECTS.items():
        events = daemon.events(name)
        assert events, f"no event tells {name!r}"
        for event in events:
            assert fields <= set(event), f"{name}: {sorted(fields - set(event))} missing in {event}"
            assert {"at", "level", "logger"} <= set(event)
    assert len(daemon.events("placement.sealed")) == 2
    assert len(daemon.events("alias.flipped")) == 2
    for file in (*stage.home.glob("syncd.db*"), daemon.log):
        assert SECRET.encode() not in file.read_bytes(), f"{file.name} tells the secret"
    assert not any(SECRET in text for text in said)


def test_on_a_terminal_progress_is_drawn_with_bytes_rate_and_time_left(one_region: Stage) -> None:
    one_region.slow(1.5)
    one_region.deliver("v1", large("v1", parts=6))
    text = on_a_terminal(one_region, "publish", f"{one_region.model}@v1", "--wait", columns=100)
    assert "█" in text
    assert "MB of 50.3 MB" in text
    assert "MB/s" in text
    assert " left" in text
    assert "weights.bin" in text
    assert "\x1b[" in text
    assert "is live" in text


def on_a_terminal(stage: Stage, *arguments: str, columns: int) -> str:
    """What a person would see, escape sequences and all."""
    ours, theirs = pty.openpty()
    env = stage.env | {"COLUMNS": str(columns), "LINES": "40", "TERM": "xterm-256color"}
    with subprocess.Popen(command(*arguments), env=env, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        seen = bytearray()
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 1.0)[0]:
                try:
                    seen += os.read(ours, 65536)
                except OSError:  # the other side is closed
                    break
        os.close(ours)
        assert process.wait(10) == 0, seen.decode(errors="replace")
    return seen.decode(errors="replace")


def test_where_nobody_looks_there_are_no_colours_and_a_closed_pipe_is_no_error(one_region: Stage) -> None:
    assert one_region.publish("v1", small("v1")).code == 0
    for arguments in (("status",), ("show", "r-1"), ("status", "nobody")):
        told = one_region.run(*arguments)
        assert "\x1b" not in told.out + told.err
    first = subprocess.run(
        f"{sys.executable} -m syncd show r-1 | head -1; echo ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", env=one_region.env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert first.stderr == ""
    line, code = first.stdout.splitlines()
    assert (line.startswith("r-1: release of"), code) == (True, "0")


def test_a_terminal_without_utf8_and_a_narrow_one_still_show_everything(one_region: Stage) -> None:
    assert one_region.publish("v1", small("v1")).code == 0
    one_region.env |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    told = one_region.run("status")
    assert (told.code, told.err) == (0, "")
    assert f"f-{one_region.model}" in told.out
    assert one_region.run("status", "-o", "json").document["live"]
    narrow = on_a_terminal(one_region, "status", columns=40)
    assert "v1" in narrow
    plain = re.sub(r"\x1b\[[0-9;]*m", "", narrow.replace("\r", ""))
    assert max(len(line) for line in plain.splitlines()) <= 40, plain
    assert re.search(r"^REGION +cn-hangzhou$", plain, re.MULTILINE), plain
