"""Uploads of a directory into a registry: `bucket`, `directory`, and what of a directory is published."""

__all__ = ["bucket", "directory", "source_directory"]
