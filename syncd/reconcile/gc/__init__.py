"""Garbage collection: retired versions, withdrawn placements, abandoned uploads."""

__all__ = ["retire", "sweep"]
