"""Database access: schema, rows and their column types, URLs, file locks."""

__all__ = [
    "changes",
    "columns",
    "filelock",
    "rows",
    "schema",
    "schema_images",
    "schema_serving",
    "url",
]
