"""Values that several packages share: sources, functions, name patterns, texts, times. Pure."""

__all__ = ["function", "patterns", "shown_text", "source", "times"]
