"""Values that several packages share: sources, functions, name patterns, times. Pure."""

__all__ = ["function", "patterns", "source", "times"]
