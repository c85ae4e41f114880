"""Object stores: bytes under keys. The seam is `base.py`; implementations are in `oss/`, `nas/` and `memory.py`."""

__all__ = ["base", "keys", "memory", "nas", "oss", "retrying"]
