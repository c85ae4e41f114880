"""What is asked before traffic moves, what is held ready for it, and how long first answers took; by the command."""

from __future__ import annotations

import signal
from typing import Any

import httpx

from tests.acceptance.stage import HANGZHOU, Stage, small, until
from tests.acceptance.test_situations import runtime_of

BINDING = '[bindings.hangzhou]\nruntime = "hangzhou"'
NOT_YET = {
    "service": "fc",
    "operation": "GetScalingConfig",
    "times": 0,
    "action": {"kind": "State", "values": {"ready_at_most": 0}},
}


def golden(path: str, want: object) -> tuple[str, str]:
    """The binding asks for this beside the digests, and is told how long its functions take."""
    request = f'{{ name = "shape", json = {{ "{path}" = {want} }} }}'
    return BINDING, f"{BINDING}\nprobe = {{ golden = [{request}], latency = {{ calls = 2, p95_s = 60.0 }} }}"


def test_a_golden_request_answered_wrongly_moves_nothing_and_first_answers_are_told(one_region: Stage) -> None:
    stage = one_region
    stage.configure(golden("models.m.files", 2))
    assert stage.publish("v1", small("v1")).code == 0
    (first,) = stage.ask("show", "r-1")["first_answers"]
    assert (first["binding"], first["region"], first["target_kind"]) == ("hangzhou", HANGZHOU, "oss")
    assert first["cold"]
    assert first["answer_s"] >= first["inside_s"] > 0
    (median,) = stage.ask("show", f"{stage.model}@v1")["first_answers"]
    assert (median["cold_starts"], median["cold_answer_s"], median["others"]) == (1, first["answer_s"], 0)
    assert f"{first['answer_s']:.3f}s" in stage.run("show", f"{stage.model}@v1").out
    assert stage.publish("v2", {**small("v2"), "more.json": b"{}"}).code == 5
    told = stage.run("show", "r-2").out
    assert "is stalled" in told
    assert "shape: at models.m.files got 3, want 2" in told
    assert stage.live() == {"v1"}


def test_instances_held_ready_are_let_go_though_the_daemon_is_killed_while_it_waits(one_region: Stage) -> None:
    stage = one_region
    stage.configure((BINDING, f'{BINDING}\nwarm = 2\ncandidate = "next"'))
    runtime, function = runtime_of(stage), f"f-{stage.model}"
    httpx.post(f"{stage.cloud.endpoint}/_local/faults", json=NOT_YET).raise_for_status()
    stage.deliver("v1", small("v1"))
    with stage.daemon() as daemon:

        def waits() -> list[dict[str, Any]]:
            flying = stage.ask("status")["in_flight"]
            return [release for release in flying if "of 2 instances are ready" in release["reason"]]

        until(waits, "the release to wait for its instances")
        daemon.stop(signal.SIGKILL)
    assert runtime.scaling(function, "next").target == 2
    stage.clear_faults()
    assert stage.publish("v1").code == 0
    assert runtime.scaling(function, "next").target == 0
    kinds = [event["kind"] for event in stage.ask("show", "r-1")["events"]]
    assert kinds.count("warmth.wanted") == kinds.count("warmth.removed") == 1
