"""Access in the record: API tokens, webhook deliveries, processes."""

__all__ = ["deliveries", "processes", "tokens"]
