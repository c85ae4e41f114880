"""SQL record: requests, intentions, observations and their times."""

__all__ = ["access", "content", "db", "records", "releases", "schema_version", "serving", "state", "upgrade"]
