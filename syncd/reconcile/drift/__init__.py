"""Drift: compare what serves with the record, report differences, resolve them on request."""

__all__ = ["compare", "resolve", "scan"]
