"""Execution engine: runs recorded steps on workers. The seam is `base.py`."""

__all__ = ["base", "dbos", "lock", "memory", "upgrade"]
