"""What each route of the API calls: reads, actions, events, deliveries of webhooks, and probes."""

__all__ = ["actions", "arguments", "deliveries", "probes", "reads", "stream"]
