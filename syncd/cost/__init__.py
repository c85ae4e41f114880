"""What serving and storing cost: a dated price list, and pure arithmetic over it."""

__all__ = ["price_list", "serving", "shipped", "storage"]
