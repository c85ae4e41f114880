"""Settings of a bucket that matter to whole, immutable versions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LifecycleRule:
    """An enabled lifecycle rule: the keys that it selects, and what it does to them."""

    name: str
    prefix: str
    deletes: bool
    archives: bool
    aborts_uploads_after_days: int | None

    def reaches(self, prefix: str) -> bool:
        """Whether it may select a key below `prefix`."""
        return self.prefix.startswith(prefix) or prefix.startswith(self.prefix)


@dataclass(frozen=True, slots=True)
class BucketFacts:
    """What a bucket reports of itself. `versioning` is "" if it never had versions."""

    region: str
    versioning: str
    rules: tuple[LifecycleRule, ...]
