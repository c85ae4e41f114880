"""Flow control of a copy: buffers, bandwidth, concurrency, stragglers and stalls."""

__all__ = ["adaptive_concurrency", "bandwidth", "buffers", "concurrency_limiter", "countdown", "stall_detector"]
