"""Threads of a copy: a worker pool, calls that can be abandoned, one cancel scope."""

__all__ = ["worker_pool"]
