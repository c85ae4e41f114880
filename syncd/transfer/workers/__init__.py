"""Threads of a copy: a worker pool, calls that can be abandoned, one cancel scope."""

__all__ = ["cancel_scope", "worker_pool"]
