"""What a person at a terminal sees of the installed command: short names, Ctrl-C, time-outs, retries."""

from __future__ import annotations

import os
import pty
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from syncd.state.db.schema import processes
from syncd.state.state import State

from tests.acceptance.stage import Cloud, Done, Stage, command, ended, read_until, small, until


@pytest.fixture
def here(cloud: Cloud, tmp_path: Path) -> Iterator[Stage]:
    stage = cloud.stage(tmp_path / "stage", second=False)
    yield stage
    stage.clear_faults()


def named_commands(text: str) -> list[str]:
    """The commands in backticks."""
    return re.findall(r"`(syncd [^`]+)`", text)


def typed(stage: Stage, command: str) -> Done:
    """What the message says, typed."""
    return stage.run(*shlex.split(command)[1:])


def test_a_short_name_is_published_and_named_first(here: Stage) -> None:
    here.deliver("v1", small("v1"))
    done = here.run("publish", f"{here.model}-v1", "--wait")
    assert done.code == 0, done
    assert done.out.splitlines()[0] == f"publishing {here.model}@v1"
    assert f"{here.model}@v1 is live" in done.out
    wrong = here.run("publish", f"{here.model}-v2")
    assert (wrong.code, wrong.out) == (3, "")
    assert f"did you mean {here.model}@v1?" in wrong.err
    (command,) = named_commands(wrong.err)
    assert command == f"syncd versions {here.model}"
    listed = typed(here, command)
    assert listed.code == 0
    assert listed.out.splitlines()[1].split()[:5] == ["v1", "1", "of", "1", "hangzhou"]
    new = here.home / "new"
    new.mkdir()
    (new / "weights.bin").write_bytes(b"new")
    assert f"{here.model}@v2 is live" in here.run("publish", f"{here.model}-v2", "--from", str(new), "--wait").out


def test_without_a_daemon_an_interrupt_says_where_it_stands_and_what_goes_on(here: Stage) -> None:
    here.configure(("step_failures_max = 3", "step_failures_max = 1000"))
    version = here.deliver("v1", small("v1"))
    (version / "SHA256SUMS").rename(here.home / "SHA256SUMS")  # incomplete until it is back
    process = here.start("publish", f"{here.model}@v1", "--wait")
    until(lambda: [row for row in here.ask("status")["in_flight"] if row["waiting"]], "a failed try")
    process.send_signal(signal.SIGINT)
    done = ended(process)
    assert done.code == 130
    assert "this command does the work of r-1" in done.err
    last = done.err.splitlines()[-1]
    assert last.startswith("warning: interrupted: r-1 stands at requested; no process works on it now: ")
    again, everything, stop = named_commands(last)
    assert (everything, stop) == ("syncd run", "syncd cancel r-1")
    unseen = here.run("approve", "r-1")
    assert "warning: no process works on this record, so r-1 does not go on" in unseen.err
    assert here.run("status").out.splitlines()[0] == "daemon: none is running"
    (here.home / "SHA256SUMS").rename(version / "SHA256SUMS")
    assert typed(here, again).code == 0
    assert here.live() == {"v1"}


def test_a_daemon_that_was_killed_is_named_and_one_that_was_stopped_is_not(here: Stage) -> None:
    with here.daemon() as daemon:
        until(lambda: here.ask("status")["daemon"], "the daemon to be seen")
        owner = here.ask("status")["daemon"]["owner"]
        daemon.stop(signal.SIGKILL)
    silent_for(here, owner, 31)
    named = f"; {owner} was killed or cut off, last heard of at "
    first, second, *_ = here.run("status").out.splitlines()
    assert first.startswith(f"daemon: none is running{named}")
    assert second == "   to do: start the daemon: `syncd run`"
    assert here.ask("status")["lost_daemon"]["owner"] == owner
    health = here.run("health")
    assert health.code == 7
    assert f"daemon: no daemon reported in the last 30 seconds{named}" in health.out
    with here.daemon() as daemon:
        until(lambda: here.ask("status")["daemon"], "the next daemon to be seen")
        assert here.ask("status")["lost_daemon"] is None
        assert daemon.stop() == 0
    assert here.run("status").out.splitlines()[0] == "daemon: none is running"
    assert here.ask("status")["lost_daemon"] is None


def silent_for(stage: Stage, owner: str, seconds: int) -> None:
    """What the record says of a process that was last heard of then."""
    state = State(f"sqlite:///{stage.database}")
    with state.write() as conn:
        at = state.now(conn) - timedelta(seconds=seconds)
        conn.execute(sa.update(processes).where(processes.c.owner == owner).values(seen_at=at))
    state.close()


def test_with_a_daemon_an_interrupt_and_a_time_out_say_that_it_goes_on(here: Stage) -> None:
    here.configure(("step_failures_max = 3", "step_failures_max = 1000"))
    version = here.deliver("v1", small("v1"))
    (version / "SHA256SUMS").rename(here.home / "SHA256SUMS")  # incomplete until it is back
    with here.daemon():
        late = here.run("publish", f"{here.model}@v1", "--wait", "--timeout", "0.5s")
        assert late.code == 6
        assert re.search(r"note:  timed out after 0s: r-1 goes on in daemon \S+; follow: `syncd watch r-1`", late.err)
        process = here.start("publish", f"{here.model}@v1", "--wait")
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        done = ended(process)
        assert done.code == 130
        last = done.err.splitlines()[-1]
        assert last.startswith("note:  interrupted: r-1 goes on in daemon ")
        assert named_commands(last) == ["syncd watch r-1", "syncd cancel r-1"]
        (here.home / "SHA256SUMS").rename(version / "SHA256SUMS")
        until(lambda: here.live() == {"v1"}, "the daemon to go on")


def test_a_failed_try_is_shown_with_its_reason_and_the_next_time_and_is_repeated_when_asked(here: Stage) -> None:
    here.configure(("retry_base_s = 0.1", "retry_base_s = 300.0"), ("retry_cap_s = 0.5", "retry_cap_s = 600.0"))
    version = here.deliver("v1", small("v1"))
    (version / "SHA256SUMS").rename(here.home / "SHA256SUMS")  # incomplete until it is back
    process = here.start("publish", f"{here.model}@v1", "--wait")
    assert process.stdout is not None
    for line in process.stdout:
        if b"next try" in line:
            break
    assert re.search(rb"r-1 resolve version: .*\(tried 1\xc3\x97, next try \d\d:\d\d:\d\dZ\)", line), line
    (row,) = here.ask("status")["in_flight"]
    assert row["waiting"][0]["failures"] == 1
    assert row["next_try"] == row["waiting"][0]["due_at"]
    assert "   next try of resolve version: " in here.run("status").out
    (here.home / "SHA256SUMS").rename(version / "SHA256SUMS")
    retried = here.run("retry", "r-1")
    assert (retried.code, retried.err) == (0, ""), retried
    assert retried.out == f"r-1 {here.model}@v1: resolve version due now\n"
    assert ended(process).code == 0
    assert "nothing" not in here.run("retry").out
    over = here.run("retry", "r-1")
    assert over.code == 9
    assert named_commands(over.err) == [f"syncd publish {here.model}@v1"]


def test_publishing_again_repeats_what_waits(here: Stage) -> None:
    here.configure(("retry_base_s = 0.1", "retry_base_s = 300.0"), ("retry_cap_s = 0.5", "retry_cap_s = 600.0"))
    version = here.deliver("v1", small("v1"))
    (version / "SHA256SUMS").rename(here.home / "SHA256SUMS")  # incomplete until it is back
    with here.daemon():
        assert here.run("publish", f"{here.model}@v1").code == 0
        until(lambda: [r for r in here.ask("status")["in_flight"] if r["waiting"]], "a failed try")
        (here.home / "SHA256SUMS").rename(version / "SHA256SUMS")
        assert here.run("publish", f"{here.model}@v1", "--wait").code == 0
    assert [event["kind"] for event in here.ask("show", "r-1")["events"]].count("release.retried") == 1


def test_retiring_shows_what_it_deletes_and_asks_on_a_terminal_only(here: Stage) -> None:
    for version in ("v1", "v2", "v3"):
        assert here.publish(version, small(version)).code == 0
    planned = here.run("retire", f"{here.model}@v1", "--plan")
    assert planned.out.splitlines() == [
        f"{here.model}@v1 is to be retired",
        f"  to be deleted: f-{here.model}:1 in cn-hangzhou",
        f"  to be deleted: {here.model}@v1 at hangzhou",
    ]
    for answer, wanted in (("n", "nothing is retired"), ("y", "is retired")):
        asked = on_terminal(here, "retire", f"{here.model}@v1", typed=f"{answer}\n")
        assert "for good? [y/N]" in asked
        assert wanted in asked
    refused = here.run("retire", f"{here.model}@v2", "--plan")
    assert refused.code == 9
    assert here.run("retire", f"{here.model}@v2", "--yes").code == 9
    assert here.ask("versions", here.model)["versions"][-1]["sealed"] == []


def test_a_rollback_goes_to_the_version_that_is_named(here: Stage) -> None:
    for version in ("v1", "v2", "v3"):
        assert here.publish(version, small(version)).code == 0
    done = here.run("rollback", here.model, "--to", "v1", "--why", "bad hands")
    assert done.code == 0, done
    assert here.live() == {"v1"}
    unknown = here.run("rollback", here.model, "--to", "v7")
    assert unknown.code == 3
    assert "versions that were live: v1, v3, v2" in unknown.err


def test_a_model_is_followed_from_a_pipe_and_a_release_until_it_ends(here: Stage) -> None:
    here.deliver("v1", small("v1"))
    watching = here.start("watch", here.model)
    redrawn = here.start("status", "--watch", "-o", "json")
    assert redrawn.stdout is not None
    assert b'"version": null' in redrawn.stdout.readline()
    assert here.run("publish", f"{here.model}@v1").code == 0
    read_until(watching, "release.live")
    while b'"version": "v1"' not in (line := redrawn.stdout.readline()):
        assert line
    for process in (watching, redrawn):
        process.send_signal(signal.SIGINT)
        assert ended(process).code == 130
    seen = here.run("watch", "r-1")
    assert (seen.code, seen.out.splitlines()[-1]) == (0, f"r-1 {here.model}@v1 is live")
    assert here.run("watch", "nobody").code == 3


def on_terminal(stage: Stage, *arguments: str, typed: str) -> str:
    """What a command shows on a terminal of 100 columns, where an answer is typed."""
    shown = bytearray()
    pid, terminal = pty.fork()
    if pid == 0:  # the command's own process
        os.execve(sys.executable, command(*arguments), {**stage.env, "COLUMNS": "100", "TERM": "xterm"})
    try:
        os.write(terminal, typed.encode())
        while piece := os.read(terminal, 4096):
            shown += piece
    except OSError:  # the command has ended: Linux reports the closed terminal as an error
        pass
    finally:
        os.waitpid(pid, 0)
        os.close(terminal)
    return shown.decode(errors="replace")
