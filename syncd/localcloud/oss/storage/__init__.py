"""Persistent state of one region: data files, and the SQLite catalog that makes them visible as objects."""

from syncd.localcloud.oss.storage.region_store import RegionStore

__all__ = ["RegionStore"]
