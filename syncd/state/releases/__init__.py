"""Releases in the record: requests, steps, phases, approvals, holds, freezes, events."""

__all__ = [
    "approvals",
    "events",
    "freezes",
    "holds",
    "idempotency",
    "releases",
    "retirements",
    "rollouts",
    "steps",
]
