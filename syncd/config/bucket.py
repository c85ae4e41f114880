"""Bucket settings that registries and targets share."""

from __future__ import annotations

from syncd.config.fields import Bucket, Endpoint, Prefix, Region
from syncd.config.table import Table


class BucketTable(Table):
    """A prefix of a bucket, and the key for it. `endpoint` is the bucket's as syncd reaches it."""

    region: Region
    endpoint: Endpoint
    bucket: Bucket
    credentials: str
    prefix: Prefix = ""
