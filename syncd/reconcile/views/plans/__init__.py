"""What a release would do, take and cost, and where a model should live. Read-only."""

__all__ = ["advice", "costs", "document", "estimate", "plan"]
