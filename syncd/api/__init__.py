"""The HTTP API of the daemon: releases, status, events, webhooks, health. It asks and tells; it decides nothing."""
