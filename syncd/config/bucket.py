"""Bucket settings, shared by registries and targets."""

from __future__ import annotations

from syncd.config.fields import Bucket, Endpoint, Prefix, Region
from syncd.config.table import Table


class BucketTable(Table):
    """A prefix of a bucket, and its credentials. `endpoint` is the endpoint for syncd itself."""

    region: Region
    endpoint: Endpoint
    bucket: Bucket
    credentials: str
    prefix: Prefix = ""
