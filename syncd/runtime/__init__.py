"""Runtimes serve versions. `base.py` is the interface; Function Compute is in `fc/`."""

__all__ = ["base", "fc", "health_check", "limiter", "memory", "paths"]
