"""A version that turns bad while it has a share: it goes back by itself and stays away, by the command."""

from __future__ import annotations

import signal
from typing import Any

import httpx

from tests.acceptance.stage import Daemon, Stage, small, until
from tests.acceptance.test_api import HOOK, push

MORE = """
[api]
listen = "127.0.0.1:0"

[hooks.models]
kind = "harbor"
secret = { env = "HOOK_SECRET" }

[[policy.strategies]]
models = ["*"]
steps = ["10% 90s"]
judge_samples = 90
"""


def fails(stage: Stage) -> None:
    """From now on the function fails, as it does that runs out of memory: the platform says so with a 200."""
    action = {
        "kind": "Answer",
        "status": 200,
        "body": '{"errorMessage": "CUDA out of memory"}',
        "headers": {"X-Fc-Error-Type": "UnhandledInvocationError"},
    }
    rule = {"service": "fc", "operation": "InvokeFunction", "resource": f"f-{stage.model}.*", "times": 0}
    sent = httpx.post(f"{stage.cloud.endpoint}/_local/faults", json=rule | {"action": action})
    sent.raise_for_status()


def address_of(daemon: Daemon) -> str:
    told = until(lambda: daemon.events("server.listening"), "the API to listen")[-1]["address"]
    until(lambda: httpx.get(f"{told}/readyz", trust_env=False).status_code == 200, "a poll since the start")
    return str(told)


def stays_away(stage: Stage, daemon: Daemon, tag: str) -> None:
    """A webhook tells of the version again, and the registry is looked at for it."""
    assert push(address_of(daemon), tag) == 202
    until(lambda: daemon.events("webhook.polled"), "the webhook's poll")
    assert stage.live() == {"v1"}
    assert stage.ask("releases")["releases"][0]["release"] == "r-2", "nothing was begun"
    refused = stage.run("publish", f"{stage.model}@v2", "--wait")
    assert refused.code == 4
    assert f"`syncd unhold {stage.model}` lifts it" in refused.err


def weighted(stage: Stage) -> list[dict[str, Any]]:
    return [release for release in stage.ask("status")["in_flight"] if "good answers" in release["reason"]]


def test_a_version_that_turns_bad_at_its_share_goes_back_and_stays_away_until_unhold(one_region: Stage) -> None:
    stage = one_region
    stage.env["HOOK_SECRET"] = HOOK
    stage.config.write_text(stage.config.read_text() + MORE)
    assert stage.publish("v1", small("v1")).code == 0
    with stage.daemon() as daemon:
        address_of(daemon)
        stage.deliver("v2", small("v2"))
        until(lambda: weighted(stage), "the poll to bring v2 to its share")
        fails(stage)
        until(lambda: stage.ask("show", "r-2")["phase"] == "undone", "it to go back")
        stage.clear_faults()
        assert stage.live() == {"v1"}
        told = stage.run("show", "r-2").out
        assert "CUDA out of memory" in told
        assert "flip.weighted" in told
        stays_away(stage, daemon, "v2")
        daemon.stop(signal.SIGKILL)
    daemon.log.unlink()
    with stage.daemon() as again:
        stays_away(stage, again, "v2-again")
        assert stage.run("unhold", stage.model).code == 0
        stage.configure()
        assert again.stop() == 0
    assert stage.publish("v2").code == 0
    assert stage.live() == {"v2"}
