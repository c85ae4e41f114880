"""Execution engine: runs recorded steps on workers. `base.py` is the interface."""

__all__ = ["base", "dbos", "dispatcher", "lock", "memory", "upgrade"]
