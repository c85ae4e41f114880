"""What `status`, `show`, `verify`, `health`, `hold` say of each situation a fleet can be in."""

from __future__ import annotations

import shutil
from typing import Any

import oss2
from syncd.runtime.fc.runtime import FcRuntime, FcSettings
from syncd.secret import Secret

from tests.acceptance.stage import BUCKET, HANGZHOU, SECRET, Stage, large, small, until
from tests.support.clouds import oss2_session


def bucket_of(stage: Stage) -> Any:
    auth = oss2.Auth("local-access-key", SECRET)
    return oss2.Bucket(auth, stage.cloud.endpoint, BUCKET, enable_crc=False, session=oss2_session())


def runtime_of(stage: Stage) -> FcRuntime:
    host = stage.cloud.endpoint.removeprefix("http://")
    return FcRuntime(
        FcSettings(
            region=HANGZHOU,
            endpoint=host,
            protocol="http",
            access_key_id="local-access-key",
            access_key_secret=Secret(SECRET),
        )
    )


def test_nothing_yet_then_live_with_release_digest_and_time(stage: Stage) -> None:
    empty = stage.ask("status")
    assert empty["daemon"] is None
    assert [row["version"] for row in empty["live"]] == [None, None]
    assert "daemon: none is running" in stage.run("status").out
    assert stage.publish("v1", small("v1")).code == 0
    found = stage.ask("status", stage.model)
    for row in found["live"]:
        assert (row["version"], row["release"], row["alias"]) == ("v1", "r-1", "prod")
        assert len(row["digest"]) == 64
        assert row["since"]
        assert row["function_version"]
    assert found["in_flight"] == found["stalled"] == found["held"] == found["quarantined"] == []


def test_show_tells_every_step_and_event_with_times(stage: Stage) -> None:
    assert stage.publish("v1", small("v1")).code == 0
    told = stage.ask("show", "r-1")
    assert {step["step"] for step in told["steps"]} == {"resolve", "place", "stage", "probe", "flip"}
    assert all(step["started_at"] and step["ended_at"] and step["seconds"] >= 0 for step in told["steps"])
    kinds = [event["kind"] for event in told["events"]]
    assert {"release.live", "flip.flipped", "placement.sealed"} <= set(kinds), kinds
    assert [event["at"] for event in told["events"]] == sorted(event["at"] for event in told["events"])
    text = stage.run("show", "r-1").out
    assert all(word in text for word in ("release of", "is live", "STEP", "EVENT", "asked:"))


def test_a_release_under_way_is_in_flight_with_its_progress(one_region: Stage) -> None:
    one_region.slow(60.0, skip=1)
    with one_region.daemon():
        one_region.deliver("v1", large("v1", parts=12))

        def sent() -> dict[str, Any] | None:
            shown = one_region.run("show", "r-1", "-o", "json")
            targets = shown.document.get("targets", [])
            return targets[0] if targets and targets[0].get("bytes_sent", 0) > 0 else None

        target = until(sent, "some bytes to be sent")
        assert target is not None
        assert target["phase"] == "copying"
        assert 0 < target["bytes_sent"] <= target["bytes_total"]
        (flying,) = one_region.ask("status")["in_flight"]
        assert (flying["release"], flying["version"], flying["phase"]) == ("r-1", "v1", "placing")
        assert one_region.ask("status")["daemon"]["owner"]
        one_region.clear_faults()


def test_a_release_that_is_stuck_says_why_and_which_command_mends_it(one_region: Stage) -> None:
    one_region.configure(('bucket = "acceptance-models"', 'bucket = "no-such-bucket"'))
    done = one_region.publish("v1", small("v1"))
    assert done.code == 5, done
    assert done.documents[-1]["exit_code"] == 5
    (stuck,) = one_region.ask("status")["stalled"]
    assert "no-such-bucket" in stuck["reason"]
    assert f"syncd publish {one_region.model}@v1" in stuck["hint"]
    text = one_region.run("status").out
    assert "stuck: r-1" in text
    assert "to do: " in text
    one_region.configure()
    assert one_region.publish("v1").code == 0
    assert one_region.ask("status")["stalled"] == []


def test_a_function_that_is_not_there_and_wrong_credentials_stall_with_their_names(one_region: Stage) -> None:
    one_region.configure((f'function = "f-{one_region.model}"', 'function = "no-such-function"'))
    done = one_region.publish("v1", small("v1"))
    assert done.code == 5, done
    assert "no-such-function" in done.documents[-1]["error"]
    one_region.configure()
    one_region.env["ACCEPTANCE_SECRET"] = "not-the-secret-of-this-cloud"
    refused = one_region.publish("v1")
    assert refused.code == 5, refused
    assert "Signature" in refused.documents[-1]["error"]
    assert "not-the-secret" not in refused.out + refused.err
    planned = one_region.run("plan", f"{one_region.model}@v1", "-o", "json")
    assert (planned.code, planned.document["exit_code"]) == (10, 10)


def test_a_held_model_is_listed_with_who_and_why_and_polls_leave_it_alone(one_region: Stage) -> None:
    assert one_region.run("hold", one_region.model, "--why", "looking at it").code == 0
    again = one_region.ask("hold", one_region.model, "--why", "another reason")
    assert again["why"] == "looking at it"
    with one_region.daemon() as daemon:
        one_region.deliver("v1", small("v1"))
        until(lambda: one_region.run("health", "--liveness").code == 0, "the daemon to be heard of")
        assert one_region.run("publish", f"{one_region.model}@v1").code == 4
        assert one_region.ask("releases")["releases"] == []
        text = one_region.run("status").out
        assert "looking at it" in text
        assert f"`syncd unhold {one_region.model}` lifts it" in text
        assert one_region.run("unhold", one_region.model).code == 0
        assert one_region.run("unhold", one_region.model).code == 0
        until(lambda: one_region.live() == {"v1"}, "the poll to release it")
        assert daemon.stop() == 0
    assert one_region.run("health").code == 7


def test_bytes_that_change_under_a_published_version_are_quarantined(one_region: Stage) -> None:
    assert one_region.publish("v1", small("v1")).code == 0
    shutil.rmtree(one_region.registry / one_region.model / "v1")
    one_region.deliver("v1", small("v1, but other bytes"))
    with one_region.daemon():
        until(lambda: one_region.ask("status")["quarantined"], "the version to be quarantined")
    (row,) = one_region.ask("status")["quarantined"]
    assert row["version"] == "v1"
    assert one_region.run("publish", f"{one_region.model}@v1", "--wait").code == 9
    assert one_region.live() == {"v1"}


def test_verify_finds_a_flipped_bit_in_each_store_and_an_alias_moved_by_hand(stage: Stage) -> None:
    assert stage.publish("v1", small("v1")).code == 0
    assert stage.publish("v2", small("v2")).code == 0
    good = stage.run("verify", "-o", "json")
    assert (good.code, good.document["good"]) == (0, True)
    weights = next(path for path in stage.nas.rglob("weights.bin") if "v1" in str(path.parent))
    flip_file(weights)
    bucket = bucket_of(stage)
    (key,) = [
        o.key for o in oss2.ObjectIterator(bucket, prefix=f"{stage.model}/") if "/v2-" in o.key and "weights" in o.key
    ]
    data = bytearray(bucket.get_object(key).read())
    data[7] ^= 1
    bucket.put_object(key, bytes(data))
    runtime = runtime_of(stage)
    pointed = runtime.read(f"f-{stage.model}", "prod")
    runtime.flip(f"f-{stage.model}", "prod", "1", pointed.function_version)
    found = stage.run("verify", stage.model, "-o", "json")
    assert (found.code, found.document["good"]) == (8, False)
    wrong = {(f["subject"], f["what"]): f["wrong"] for f in found.document["findings"] if f["wrong"]}
    assert set(wrong) == {
        ("shanghai", f"{stage.model}@v1"),
        ("hangzhou", f"{stage.model}@v2"),
        ("hangzhou", f"f-{stage.model}:prod"),
    }
    assert all("weights.bin" in text for (_, what), text in wrong.items() if "@" in what)
    text = stage.run("verify", stage.model)
    assert text.code == 8
    assert "expected function version 2 as recorded, got 1" in text.out


def flip_file(path: Any) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
