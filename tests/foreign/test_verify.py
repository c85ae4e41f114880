"""`syncd verify` on another cloud: its exit code is 8 only for a difference that was seen."""

from __future__ import annotations

from pathlib import Path

from tests.foreign.world import World


def test_a_region_that_does_not_answer_is_no_difference(tmp_path: Path) -> None:
    with World(tmp_path / "world") as world:
        world.deliver("alpha", "v1", 0.3)
        world.await_daemon()
        assert world.syncd("publish", "alpha@v1", "--wait", "--timeout", "60").code == 0
        world.regions["ap-southeast-1"].play(stopped="reset")
        cut_off = world.syncd("verify")
        assert cut_off.code == 7, cut_off
        assert not cut_off.document["good"]
        assert "run it again" in cut_off.document["hint"]
        findings = cut_off.document["findings"]
        assert [finding["wrong"] for finding in findings] == [None] * len(findings)
        assert 0 < sum(finding["unanswered"] is not None for finding in findings) < len(findings)
        world.regions["ap-southeast-1"].play(unavailable=0.1, flip_received=0.1)
        throttled = world.syncd("verify")
        assert throttled.code == 0, throttled
        assert throttled.document["good"]
