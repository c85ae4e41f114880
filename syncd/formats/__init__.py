"""File formats of models: whether a file is what its name says, and whole. Pure; reads are passed in."""

__all__ = [
    "check",
    "contents",
    "documents",
    "indexes",
    "names",
    "parsers",
    "spans",
    "substitutes",
    "tensors",
    "version",
]
