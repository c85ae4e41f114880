"""Runtimes: what serves a version. The seam is `base.py`; Function Compute is in `fc/`."""

__all__ = ["base", "fc", "health_check", "limiter", "memory", "paths"]
