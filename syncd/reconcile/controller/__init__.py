"""Controller: one pass over unfinished releases, and one attempt of one step."""

__all__ = ["attempt", "claims", "tick"]
