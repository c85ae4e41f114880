"""Model registries: where versions come from. The seam is `base.py`; each registry is in `sources/` or `oci/`."""

__all__ = [
    "alibabacloud",
    "base",
    "bucket_objects",
    "checksum_files",
    "directory_tree",
    "listing_cache",
    "oci",
    "pinned",
    "refusal_log",
    "rules",
    "settings",
    "sources",
]
