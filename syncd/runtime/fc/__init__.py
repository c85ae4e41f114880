"""Function Compute 3.0 (API 2023-03-30). Only this package imports its SDK."""

__all__ = ["alias", "call", "image", "mapping", "probe", "runtime", "scaling", "update"]
