"""HTTP API of the daemon: releases, status, events, webhooks, health. It decides nothing itself."""

__all__ = [
    "app",
    "dependencies",
    "endpoints",
    "limits",
    "openapi",
    "operations",
    "parsed_body",
    "parser_errors",
    "responses",
    "routes",
    "schemas",
    "server",
    "token_checks",
    "webhooks",
]
