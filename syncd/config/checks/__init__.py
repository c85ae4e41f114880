"""Configuration checks across tables: unknown names, two writers of one location, regions that differ."""

__all__ = ["bindings", "checks", "weak"]
