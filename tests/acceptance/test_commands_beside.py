"""Commands that work on a record while no daemon does: each for its own release, and how they give way."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from tests.acceptance.stage import Stage, ended, small, until

OTHER = "other"
_OTHER = """
[[bindings.hangzhou.models]]
model = "other"
target = "hangzhou"
mount_dir = "/mnt/other"
env = { path = "OTHER_PATH", digest = "OTHER_DIGEST" }
"""
BACK_WITHIN_S = 30.0


@pytest.fixture
def both(one_region: Stage) -> Stage:
    """v1 and v2 of two models on one function, v2 live; nothing works on the record."""
    stage = one_region
    stage.config.write_text(stage.config.read_text() + _OTHER)
    for model in (stage.model, OTHER):
        for version in ("v1", "v2"):
            deliver(stage, model, version)
            assert stage.run("publish", f"{model}@{version}", "--wait").code == 0
    return stage


def deliver(stage: Stage, model: str, version: str) -> None:
    """Put a version of any model into the registry."""
    if model == stage.model:
        stage.deliver(version, small(version))
        return
    like = stage.deliver(f"{version}-like", small(f"{model} {version}"))
    final = stage.registry / model / version
    final.parent.mkdir(parents=True, exist_ok=True)
    like.rename(final)


def waiting(stage: Stage, version: str) -> subprocess.Popen[bytes]:
    """A publish without `--wait` and without a daemon that a freeze keeps at work."""
    assert stage.run("freeze", stage.model, "--why", "a sale").code == 0
    deliver(stage, stage.model, version)
    process = stage.start("publish", f"{stage.model}@{version}")
    until(lambda: any("frozen" in r["reason"] for r in releases(stage)), "the release to wait for the freeze")
    return process


def releases(stage: Stage) -> list[dict[str, str]]:
    found: list[dict[str, str]] = stage.ask("releases")["releases"]
    return found


def test_a_publish_gives_way_to_a_daemon_that_starts(both: Stage) -> None:
    process = waiting(both, "v3")
    began = time.monotonic()
    with both.daemon():
        done = ended(process)
        assert done.code == 0, done
        assert time.monotonic() - began < BACK_WITHIN_S
        assert both.run("unfreeze", both.model).code == 0
        until(lambda: releases(both)[0]["phase"] == "live", "the daemon to finish it")


def test_a_rollback_of_another_model_does_not_wait_for_a_publish_without_a_daemon(both: Stage) -> None:
    process = waiting(both, "v3")
    began = time.monotonic()
    back = both.run("rollback", OTHER, "--why", "bad", "--wait", "-o", "json")
    seconds = time.monotonic() - began
    assert back.code == 0, back
    assert seconds < BACK_WITHIN_S
    sys.stdout.write(f"publish without a daemon     {seconds:.1f} s until the rollback of another model has moved it\n")
    assert process.poll() is None, "it goes on when the rollback has ended"
    assert both.run("unfreeze", both.model).code == 0
    done = ended(process)
    assert done.code == 0, done
    assert [r["phase"] for r in releases(both)[:2]] == ["live", "live"]


def test_a_command_leaves_the_releases_of_others_and_says_so(both: Stage) -> None:
    process = waiting(both, "v3")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    deliver(both, OTHER, "v3")
    done = both.run("publish", f"{OTHER}@v3", "--wait")
    assert done.code == 0, done
    assert f"{both.model}@v3 (staging); `syncd run` goes on with" in done.err
