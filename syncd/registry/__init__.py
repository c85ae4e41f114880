"""Model registries: the sources of versions. `base.py` is the interface; implementations are in `sources/`, `oci/`."""

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
