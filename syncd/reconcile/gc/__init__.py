"""Garbage collection: retention rules, retired versions, withdrawn placements, abandoned uploads."""

__all__ = ["needs", "retention", "retire", "sweep"]
