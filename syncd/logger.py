"""A logger for rooms that seldom have anything to say: what logs is imported when they do, a tenth of a second."""

from __future__ import annotations

from typing import Any


class Logger:
    """structlog's, when it is asked for a method. Safe from several threads."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def __getattr__(self, name: str) -> Any:
        import structlog  # noqa: PLC0415 - what this is for

        return getattr(structlog.get_logger(*self._names), name)
