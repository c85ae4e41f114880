"""Daemon: one scheduler, one controller loop, the engine's workers, and a clean shutdown."""

__all__ = ["base_images", "health", "polling", "process", "schedule", "upload_helper"]
