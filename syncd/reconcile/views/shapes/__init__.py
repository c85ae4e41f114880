"""Shapes of the JSON that the API and `-o json` give and take, written once: OpenAPI and the client come from them."""

__all__ = ["base", "first_answers", "overview", "plans", "releases", "repairs", "requests", "rollouts", "serving"]
