"""Errors of a function that cannot serve what is mounted. Each message has one line: where, expected, actual."""

from __future__ import annotations


class ServingError(Exception):
    """The model cannot be served; nothing of it was given out."""


class NotSealed(ServingError):
    """No sealed version is there, or another one than the environment names."""


class WrongBytes(ServingError):
    """Bytes on the mount differ from what was sealed."""


class UnreadableMount(ServingError):
    """The mount failed a read."""


class NoRoom(ServingError):
    """The memory budget is smaller than the model, or the model is larger than its arena."""
