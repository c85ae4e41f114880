"""Planning: what is due and which transitions are legal. Pure: no clock, no chance, no I/O."""

__all__ = [
    "autorelease",
    "backoff",
    "binding",
    "drift",
    "gate",
    "phases",
    "quota",
    "release",
    "retention",
    "roles",
    "routing",
    "strategy",
    "topology",
]
