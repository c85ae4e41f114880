"""Selection rules: which models a registry offers, which version is followed, which files are taken."""

__all__ = ["file_filters", "filtered", "follow_rules", "semver"]
