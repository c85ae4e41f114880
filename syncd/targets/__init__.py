"""Targets: places that hold whole, sealed versions. The seam is `base.py`."""

__all__ = ["base", "checksum_cache", "image", "tree_inspector", "verify", "versioned_tree", "writers"]
