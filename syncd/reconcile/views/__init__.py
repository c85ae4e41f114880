"""Read models: releases, the overview, plans, verification, cold starts. Read-only."""

__all__ = ["cold_starts", "overview", "plans", "release", "resolution", "rollout", "shapes", "watched_bases"]
