"""Adoption: what functions and targets carry of an earlier record, and a record rebuilt from it."""

__all__ = ["adopt_world", "hold_copies", "survey"]
