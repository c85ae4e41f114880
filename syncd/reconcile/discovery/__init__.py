"""Discovery: polls of registries and base images, webhook hints, and the inspection of a version at its source."""

__all__ = ["base_image_updates", "base_images", "catalog", "inspection", "poll", "webhooks"]
