"""Signals: metrics that canary analysis reads. They return figures and decide nothing."""

__all__ = ["base", "prometheus"]
