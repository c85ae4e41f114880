"""Command output: text, JSON, tables, and the live view of a release."""

__all__ = ["output", "release_document", "screen", "tables", "watch"]
