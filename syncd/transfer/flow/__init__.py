"""Flow control of a copy: buffers, bandwidth, and what each target may have under way."""

__all__ = ["bandwidth", "buffers", "send_queue"]
