"""Generated reference pages: commands, settings and HTTP API, from the code that serves them."""

from tools.reference.write import PAGES, ROOT, generated

__all__ = ["PAGES", "ROOT", "generated"]
