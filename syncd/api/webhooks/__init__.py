"""Webhooks: configured senders, signature checks, parsing, and the way of a delivery into the record."""

__all__ = ["delivery_batcher", "eventbridge", "payloads", "signatures", "webhooks"]
