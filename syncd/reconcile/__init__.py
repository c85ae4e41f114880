"""Reconciliation: short passes that read the world, decide, act and record. The record holds what is requested."""

__all__ = [
    "adoption",
    "context",
    "controller",
    "discovery",
    "drift",
    "gc",
    "repair",
    "requests",
    "rollout",
    "steps",
    "views",
]
