"""Content in the record: versions, files, placements, uploads, images."""

__all__ = ["base_images", "contents", "images", "journal", "layers", "placements", "repairs", "versions"]
