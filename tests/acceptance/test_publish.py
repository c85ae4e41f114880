"""`publish`, `plan` and `rollback` against real processes."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.acceptance.stage import Stage, digest_of, ended, large, read_until, small, until, write_files


def test_a_publish_without_a_daemon_does_the_work_itself_and_again_is_harmless(stage: Stage) -> None:
    first = stage.publish("v1", small("v1"))
    assert first.code == 0, first
    assert [line["event"] for line in first.documents][-1] == "end"
    assert all(line["event"] == "progress" for line in first.documents[:-1])
    assert first.documents[-1]["phase"] == "live"
    assert {t["target"]: t["phase"] for t in first.documents[-1]["targets"]} == {
        "hangzhou": "sealed",
        "shanghai": "sealed",
    }
    again = stage.publish("v1")
    assert (again.code, again.documents[-1]["phase"]) == (0, "live")
    assert stage.live() == {"v1"}


def test_two_processes_that_publish_the_same_version_at_once_share_one_release(stage: Stage) -> None:
    stage.deliver("v1", small("v1"))
    asked = [stage.start("publish", f"{stage.model}@v1", "--wait", "-o", "json") for _ in range(2)]
    done = [ended(process) for process in asked]
    assert [d.code for d in done] == [0, 0], done
    assert {d.documents[-1]["release"] for d in done} == {"r-1"}
    assert [r["release"] for r in stage.ask("releases")["releases"]] == ["r-1"]


def test_with_a_daemon_a_publish_is_recorded_and_followed(stage: Stage) -> None:
    with stage.daemon():
        stage.deliver("v1", small("v1"))
        asked = stage.run("publish", f"{stage.model}@v1", "-o", "json")
        assert asked.code == 0
        assert asked.document["model"] == stage.model
        done = stage.publish("v1")
        assert (done.code, done.documents[-1]["phase"]) == (0, "live")


def test_a_version_that_appears_in_the_registry_is_released_by_the_poll(stage: Stage) -> None:
    with stage.daemon():
        stage.deliver("v1", small("v1"))
        until(lambda: stage.live() == {"v1"}, "v1 to be live everywhere")
        (release,) = stage.ask("releases")["releases"]
        assert release["requested_by"] == "watch models"


def test_a_version_without_its_marker_is_not_released(one_region: Stage) -> None:
    one_region.deliver("v1", small("v1"), listed=False)
    done = one_region.run("publish", f"{one_region.model}@v1", "--wait", "-o", "json")
    assert done.code == 5, done
    assert done.documents[-1]["exit_code"] == 5


def test_from_puts_a_directory_into_the_registry_first(one_region: Stage, tmp_path: Path) -> None:
    source = write_files(tmp_path / "trained", small("v1"))
    version = f"{one_region.model}@v1"
    done = one_region.run("publish", version, "--from", str(source), "--wait")
    assert done.code == 0, done
    assert (one_region.registry / one_region.model / "v1" / "SHA256SUMS").is_file()
    same = one_region.run("publish", version, "--from", str(source), "--wait")
    assert same.code == 0, same
    write_files(source, small("other"))
    other = one_region.run("publish", version, "--from", str(source), "--wait", "-o", "json")
    assert (other.code, other.document["exit_code"]) == (9, 9)


def test_from_that_was_killed_half_way_is_repeated_from_the_beginning(one_region: Stage, tmp_path: Path) -> None:
    source = write_files(tmp_path / "trained", large("v1", parts=8))
    version = f"{one_region.model}@v1"
    process = one_region.start("publish", version, "--from", str(source))
    below = one_region.registry / one_region.model
    until(lambda: below.exists() and any(below.rglob("weights.bin")), "the copy to begin")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (below / "v1" / "SHA256SUMS").exists() or (below / "v1").is_dir()
    done = one_region.run("publish", version, "--from", str(source), "--wait")
    assert done.code == 0, done
    assert [path.name for path in below.iterdir()] == ["v1"]


def test_a_plan_names_bytes_and_flips_and_changes_nothing(stage: Stage) -> None:
    assert stage.publish("v1", small("v1")).code == 0
    stage.deliver("v2", large("v2", parts=1))
    roots = (stage.cloud.root, stage.registry, stage.nas)
    before = digest_of(*roots, without=("-shm", "-wal", "counters"))
    releases = stage.ask("releases")
    planned = stage.ask("plan", f"{stage.model}@v2")
    assert {t["target"]: (t["sealed"], t["send_bytes"]) for t in planned["targets"]} == {
        "hangzhou": (False, planned["bytes"]),
        "shanghai": (False, planned["bytes"]),
    }
    assert [(f["from"], f["to"]) for f in planned["flips"]] == [("v1", "v2"), ("v1", "v2")]
    assert digest_of(*roots, without=("-shm", "-wal", "counters")) == before
    assert stage.ask("releases") == releases
    assert stage.live() == {"v1"}


def test_a_rollback_moves_no_byte_holds_the_model_and_again_goes_further_back_or_says_so(stage: Stage) -> None:
    nothing = stage.run("rollback", stage.model, "-o", "json")
    assert (nothing.code, nothing.document["exit_code"]) == (3, 3)
    assert stage.ask("status")["held"] == []
    assert stage.publish("v1", small("v1")).code == 0
    assert stage.run("rollback", stage.model).code == 3
    assert stage.publish("v2", small("v2")).code == 0
    back = stage.run("rollback", stage.model, "--why", "black images", "-o", "json")
    assert back.code == 0, back
    assert back.documents[-1]["event"] == "end"
    assert (back.documents[-1]["version"], back.documents[-1]["rollback"]) == ("v1", True)
    assert stage.live() == {"v1"}
    refused = stage.run("publish", f"{stage.model}@v2", "--wait")
    assert refused.code == 4
    assert "black images" in refused.err
    assert f"syncd unhold {stage.model}" in refused.err
    twice = stage.run("rollback", stage.model)
    assert twice.code == 3, twice
    assert stage.live() == {"v1"}
    assert stage.run("unhold", stage.model).code == 0
    assert stage.publish("v2").code == 0
    assert stage.live() == {"v2"}


def test_a_timeout_leaves_the_release_to_the_daemon(one_region: Stage) -> None:
    one_region.slow(1.0)
    one_region.deliver("v1", large("v1"))
    version = f"{one_region.model}@v1"
    with one_region.daemon():
        early = one_region.run("publish", version, "--wait", "--timeout", "0.5", "-o", "json")
        assert early.code == 6, early
        assert early.documents[-1]["event"] == "end"
        one_region.clear_faults()
        assert one_region.publish("v1").code == 0


def test_a_timeout_without_a_daemon_leaves_the_release_to_the_next_process(one_region: Stage) -> None:
    one_region.slow(1.0)
    one_region.deliver("v1", large("v1"))
    version = f"{one_region.model}@v1"
    early = one_region.run("publish", version, "--wait", "--timeout", "1", "-o", "json")
    assert early.code == 6, early
    one_region.clear_faults()
    assert one_region.ask("status")["in_flight"][0]["version"] == "v1"
    done = one_region.publish("v1")
    assert (done.code, done.documents[-1]["release"]) == (0, "r-1")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_publish_between_two_effects_and_the_next_goes_on(one_region: Stage, number: int) -> None:
    one_region.slow(60.0)
    one_region.deliver("v1", large("v1"))
    process = one_region.start("publish", f"{one_region.model}@v1", "--wait", "-o", "json")
    read_until(process, "copying")
    process.send_signal(number)
    done = ended(process)
    assert done.code == 130, done
    assert one_region.ask("status")["in_flight"][0]["release"] == "r-1"
    one_region.clear_faults()
    assert one_region.publish("v1").code == 0
