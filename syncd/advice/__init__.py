"""Advice where a model should live: facts about a region, and the platform's guidance as rules. Pure."""

__all__ = ["advise", "facts", "rules"]
