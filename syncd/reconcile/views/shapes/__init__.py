"""Shapes of the JSON that the API and `-o json` give and take, written once: OpenAPI and the client come from them."""

__all__ = ["base", "overview", "plans", "releases", "requests", "serving"]
