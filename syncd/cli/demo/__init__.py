"""`syncd demo`: the whole life of a version on this machine, with a kill in the middle."""

__all__ = ["demo", "scene"]
