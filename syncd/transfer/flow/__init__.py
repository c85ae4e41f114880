"""Flow control of a copy: buffers, bandwidth, concurrency, stragglers and stalls."""

__all__ = ["bandwidth", "buffers", "concurrency_limiter", "stall_detector"]
