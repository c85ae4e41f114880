"""Requests: what people, pipelines and automation may ask for, and the checks on the way into the record."""

__all__ = ["backfill", "create", "operations", "rollbacks"]
