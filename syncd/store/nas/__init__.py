"""Store implementation over a mounted directory (NAS)."""

__all__ = ["posix", "store", "tree", "upload"]
