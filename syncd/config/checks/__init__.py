"""Configuration checks across tables: names that lead nowhere, two writers of one place, regions that differ."""

__all__ = ["bindings", "checks", "images"]
