"""The operations of OSS's API, as functions of the region's store and one call."""

from syncd.localcloud.oss.operations import attributes, buckets, copies, listing, multipart, objects, reads

__all__ = ["attributes", "buckets", "copies", "listing", "multipart", "objects", "reads"]
