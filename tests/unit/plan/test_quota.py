"""Quotas: what is counted against what, with the arithmetic."""

from __future__ import annotations

import pytest
from syncd.plan.quota import HeldInstances, Quota, excess

HELD = (
    HeldInstances("draw:prod live", 8, "tesla.1"),
    HeldInstances("draw:next candidate", 4, "tesla.1"),
    HeldInstances("chat:prod live", 2, "ada.1"),
    HeldInstances("text:prod live", 3),
    HeldInstances("idle:prod live", 0, "tesla.1"),
)


@pytest.mark.parametrize(
    ("quota", "says"),
    [
        (Quota(), ""),
        (Quota(instances=17, gpus={"tesla.1": 12, "ada.1": 2, "*": 14}), ""),
        (
            Quota(instances=16),
            (
                "8 (draw:prod live) + 4 (draw:next candidate) + 2 (chat:prod live) + 3 (text:prod live)"
                " = 17 instances, the quota is 16"
            ),
        ),
        (
            Quota(gpus={"tesla.1": 11}),
            "8 (draw:prod live) + 4 (draw:next candidate) = 12 GPUs of tesla.1, the quota is 11",
        ),
        (Quota(gpus={"ada.1": 0}), "2 (chat:prod live) = 2 GPUs of ada.1, the quota is 0"),
        (
            Quota(gpus={"*": 13}),
            "8 (draw:prod live) + 4 (draw:next candidate) + 2 (chat:prod live) = 14 GPUs, the quota is 13",
        ),
    ],
)
def test_the_first_quota_that_is_exceeded_is_told_with_the_sum(quota: Quota, says: str) -> None:
    assert excess(quota, HELD) == says


def test_a_quota_of_nothing_is_a_quota() -> None:
    assert not Quota().is_configured
    assert Quota(gpus={"ada.1": 0}).is_configured
