"""Source side of a copy: one ordered read of each file, failover between sources, the producer of parts."""

__all__ = ["failover", "nearest", "producer", "proven"]
