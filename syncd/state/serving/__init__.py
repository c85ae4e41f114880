"""Serving state in the record: live versions, flips, drift, prewarmed instances, load times."""

__all__ = ["drift_resolutions", "drifts", "flips", "live", "load_times", "prewarms"]
