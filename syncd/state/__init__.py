"""SQL record: what is requested, what was intended, what was observed, and when."""

__all__ = ["access", "content", "db", "records", "releases", "schema_version", "serving", "state", "upgrade"]
