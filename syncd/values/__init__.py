"""Values that several packages share: sources, functions, name patterns. Pure."""

__all__ = ["function", "patterns", "source"]
