"""`syncd demo`."""

from __future__ import annotations

from syncd.cli.demo.demo import demo

__all__ = ["demo"]
