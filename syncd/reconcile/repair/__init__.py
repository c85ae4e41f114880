"""Repair of placements: damaged bytes and seals are restored from a good copy, with proof. Aliases are not touched."""

__all__ = ["image", "repairs", "scrub", "sources", "tree"]
