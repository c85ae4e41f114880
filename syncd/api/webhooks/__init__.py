"""Webhooks: configuration, signature checks, payload parsing, and recording of deliveries."""

__all__ = ["delivery_batcher", "eventbridge", "payloads", "signatures", "webhooks"]
