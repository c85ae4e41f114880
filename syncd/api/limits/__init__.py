"""Limits on what callers can take of the server: connections, unfinished bodies, and traces of the refused."""

__all__ = ["bodies", "connections", "refused_callers"]
