"""HTTP API of the daemon: releases, status, events, webhooks, health. It decides nothing itself."""

__all__ = [
    "app",
    "dependencies",
    "openapi",
    "responses",
    "routes",
    "schemas",
    "server",
    "stream",
    "timeouts",
    "webhooks",
]
