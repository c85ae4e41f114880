"""Target side of a copy: one upload a file and target, deduplication, server-side copies."""

__all__ = ["bundle", "dedup_index", "file_upload", "server_side_copy", "target_copy"]
