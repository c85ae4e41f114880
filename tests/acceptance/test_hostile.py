"""Hostile connections on a real daemon, within the shipped limit of memory: everybody else is served."""

from __future__ import annotations

from bench.hostile_clients import LIMIT_BYTES, measure

ABOVE_IDLE_MAX_BYTES = 64 << 20


def test_a_daemon_under_hostile_connections_answers_accepts_and_releases() -> None:
    found = measure({"idle": 300, "slow": 150, "greedy": 150, "bodies": 100}, 6.0, LIMIT_BYTES)
    found.tell()
    assert set(found.codes["GET /healthz"]) == {"200"}
    assert set(found.codes["deliveries"]) == {"202"}
    assert found.released["release"].startswith("live after")
    assert found.peak_bytes - found.idle_bytes <= ABOVE_IDLE_MAX_BYTES
