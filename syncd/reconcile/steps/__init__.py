"""Step handlers: one for each kind of step. Each reads before it acts and verifies afterwards."""

__all__ = [
    "build_image",
    "canary",
    "carried_models",
    "functions",
    "handlers",
    "images",
    "place",
    "placement_record",
    "prewarm",
    "replicas",
    "stale_writes",
]
