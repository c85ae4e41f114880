"""Daemon: one scheduler, one controller loop, the engine's workers, and a clean shutdown."""

__all__ = ["base_images", "health", "jobs", "polling", "process", "schedule", "settings", "upload_helper"]
